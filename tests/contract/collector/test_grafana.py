"""Grafana's Pyroscope data source asks the collector, message by message."""

import gzip
import os
import time

import pytest
from collector import COLD, HOT, MAIN, Batch, Collector, labels, usual_batch, usual_stacks
from grafana import (ALL_SAMPLES, CPU, METHODS, SAMPLES, WALL, ask, bars, pb, post, refusal)

MS = 1000
SECOND = 10 ** 9
# A minute that begins a step of 15 and of 60 seconds.
T0 = int(time.time()) // 60 * 60 - 1800


def _span(seconds=3600):
    now = int(time.time())
    return {"start": (now - seconds) * MS, "end": (now + 60) * MS}


@pytest.fixture(scope="module")
def shop(podspy_collector, tmp_path_factory):
    """Two services: checkout with pods web-0 and web-1, and billing; and what another profiler sent."""
    c = Collector(podspy_collector, tmp_path_factory.mktemp("grafana") / "data")
    b = Batch()
    for pod, service, pid in (("web-0", "checkout", 1), ("web-1", "checkout", 2), ("bill-0", "billing", 3)):
        b.add(labels(pod=pod, pid=pid, **{"service.name": service}), usual_stacks(), clean=500)
    b.add({"service.name": "kernel", "podspy.sample.type": "off_cpu"},
          [([MAIN, COLD], 7, "waiting", 1, "t")])
    assert c.push(b.bytes()).status_code == 200
    yield c
    assert c.stop() == 0


# --- what there is ---

def test_profile_types_are_those_that_there_is_data_for(shop):
    types = ask(shop, "ProfileTypes", **_span()).profile_types
    ids = [t.ID for t in types]
    assert {CPU, SAMPLES, WALL, "active:wall:nanoseconds:wall:nanoseconds",
            "gil:holds:nanoseconds:wall:nanoseconds", "gil:waits:nanoseconds:wall:nanoseconds",
            "gc:wall:nanoseconds:wall:nanoseconds", ALL_SAMPLES,
            "other:off_cpu:nanoseconds:wall:nanoseconds",
            "other:off_cpu:count:wall:nanoseconds"} == set(ids)
    for t in types:
        assert t.ID == ":".join([t.name, t.sample_type, t.sample_unit, t.period_type, t.period_unit])
    assert not ask(shop, "ProfileTypes", start=1, end=2).profile_types


def test_the_health_check_of_grafana_is_answered_without_data(collector):
    """It asks for ProfileTypes; 200 is all it wants."""
    assert not ask(collector, "ProfileTypes").profile_types


def test_names_of_labels_are_identifiers(shop):
    names = ask(shop, "LabelNames", **_span()).names
    assert {"service_name", "k8s_pod_name", "process_pid", "podspy_sample_type"} <= set(names)
    assert list(names) == sorted(names) and not any("." in n for n in names)
    only = ask(shop, "LabelNames", matchers=['{service_name="kernel"}'], **_span()).names
    assert list(only) == ["podspy_sample_type", "service_name"]


@pytest.mark.parametrize("name", ["service_name", "service.name"])
def test_values_of_a_label(shop, name):
    def values(*matchers):
        return list(ask(shop, "LabelValues", name=name, matchers=matchers, **_span()).names)
    assert values() == values("") == values("{}") == ["billing", "checkout", "kernel"]
    assert values('{k8s_pod_name=~"web-.*"}') == ["checkout"]
    assert values('{k8s_pod_name="bill-0"}', '{podspy_sample_type="off_cpu"}') == ["billing", "kernel"]
    assert not ask(shop, "LabelValues", name="no_such", **_span()).names
    assert not ask(shop, "LabelValues", name=name, start=1, end=2).names


# --- label selectors ---

@pytest.mark.parametrize("selector, pods", [
    ("", {"web-0", "web-1", "bill-0"}), ("{}", {"web-0", "web-1", "bill-0"}),
    ('{service_name="checkout"}', {"web-0", "web-1"}),
    ('{"service.name"="checkout"}', {"web-0", "web-1"}),
    ("{service_name='checkout', k8s_pod_name!=`web-0`,}", {"web-1"}),
    (' { k8s_pod_name =~ "web-[0-9]" } ', {"web-0", "web-1"}),
    ('{k8s_pod_name=~"web-0|bill-0"}', {"web-0", "bill-0"}),
    ('{k8s_pod_name=~"web-0|bill-.*"}', {"web-0", "bill-0"}),
    ('{k8s_pod_name=~"web"}', set()),  # an expression must match the whole value
    ('{k8s_pod_name=~"eb-0"}', set()),
    ('{k8s_pod_name!~"web-.*"}', {"bill-0"}),
    ('{k8s_pod_name="web-*"}', set()),  # a star is a star
    ('{k8s_pod_name="web-0",k8s_pod_name="web-1"}', set()),
    ('{no_such=""}', {"web-0", "web-1", "bill-0"}), ('{no_such!=""}', set()),
    ('{no_such=~".*",service_name="billing"}', {"bill-0"}),
    ('{k8s_pod_name="w\\u0065b-0"}', {"web-0"}), ('{k8s_pod_name=~"web\\\\-1"}', {"web-1"}),
    ('{k8s_pod_name=~"(?i)WEB-0"}', {"web-0"}),
])
def test_selectors(shop, selector, pods):
    got = ask(shop, "SelectSeries", profile_typeID=ALL_SAMPLES, label_selector=selector,
              group_by=["k8s_pod_name"], step=600, start=(T0 - 1800) // 600 * 600 * MS,
              end=(T0 + 5400) // 600 * 600 * MS)
    assert {p.value for s in got.series for p in s.labels} == pods


@pytest.mark.parametrize("selector, says", [
    ("{", "label's name"), ("x", "begin with '{'"), ('{a="b"', "',' or '}'"), ("{a=b}", "quoted value"),
    ('{a="b}', "does not end"), ('{a~"b"}', "= != =~ !~"), ('{a="\\q"}', "escape"), ('{""="x"}', "empty"),
    ('{a="b"} x', "follow"), ('{a=~"("}', "expression"), ('{a=~"x)|(y"}', "expression"),
    ('{service.name="x"}', "= != =~ !~"), ('{1a="b"}', "quote one"),
    ("{" + 'a="b",' * 40 + "}", "too many"), ('{a="' + "x" * 20000 + '"}', "longer than"),
    ('{service_name=~"' + "x" * 2000 + '"}', "longer than"),
])
def test_a_wrong_selector_is_refused_with_its_reason(shop, selector, says):
    status, code, message = refusal(shop, "SelectMergeStacktraces", profile_typeID=CPU,
                                    label_selector=selector, **_span())
    assert (status, code) == (400, "invalid_argument") and says in message


# --- stacks ---

def _flame(shop, kind, selector="{}", **more):
    return ask(shop, "SelectMergeStacktraces", profile_typeID=kind, label_selector=selector,
               **{**_span(), **more}).flamegraph


def test_stacks_of_one_pod(shop):
    main, hot, cold, wait = ("main (app/main.py)", "hot (app/work.py)", "cold (app/work.py)",
                             "wait_for_io (app/net.py)")
    assert bars(_flame(shop, SAMPLES, '{k8s_pod_name="web-0"}')) == {
        (): (100, 0), (main,): (100, 0), (main, hot): (70, 70), (main, cold): (30, 30)}
    assert bars(_flame(shop, ALL_SAMPLES, '{k8s_pod_name="web-0"}'))[(main, wait)] == (400, 400)
    # 100 samples, 10 ms each
    assert _flame(shop, CPU, '{k8s_pod_name="web-0"}').total == SECOND
    assert _flame(shop, "process_cpu:cpu:nanoseconds:wall:nanoseconds").total == 3 * SECOND
    assert _flame(shop, WALL).total == 15 * SECOND
    assert _flame(shop, "active:wall:nanoseconds:wall:nanoseconds").total == 3 * SECOND
    assert _flame(shop, "gil:holds:nanoseconds:wall:nanoseconds").total == 3 * SECOND
    assert bars(_flame(shop, "other:off_cpu:count:wall:nanoseconds"))[()] == (7, 0)


def test_what_is_not_there_is_an_empty_answer(shop):
    for kind, selector, more in ((CPU, '{service_name="none"}', {}), (CPU, "{}", {"start": 1, "end": 2}),
                                 ("gil:waits:nanoseconds:wall:nanoseconds", "{}", {}),
                                 ("other:none:count:wall:nanoseconds", "{}", {})):
        answer = ask(shop, "SelectMergeStacktraces", profile_typeID=kind, label_selector=selector,
                     **{**_span(), **more})
        assert not answer.HasField("flamegraph")


def test_the_smallest_nodes_are_folded_and_keep_their_weight(collector):
    """300 functions below main, each with other samples."""
    b = Batch()
    b.add(labels(), [([MAIN, (f"f{i:03}", "/app/x.py", 1), HOT], i + 1, "running", 1, "t")
                     for i in range(300)], clean=1)
    assert collector.push(b.bytes()).status_code == 200
    whole = bars(_flame(collector, SAMPLES))
    total = 300 * 301 // 2
    assert whole[()] == (total, 0) and len(whole) == 602
    few = bars(_flame(collector, SAMPLES, max_nodes=21))
    main = ("main (app/main.py)",)
    assert few[main] == (total, 0)
    kept = {p: v for p, v in few.items() if "other" not in p}
    assert len(kept) == 22 and all(whole[p][0] == v[0] for p, v in kept.items())
    assert few[(*main, "other")][0] == total - sum(v[0] for p, v in kept.items() if len(p) == 2)
    assert bars(_flame(collector, SAMPLES, max_nodes=1)) == {
        (): (total, 0), main: (total, 0), (*main, "other"): (total, total)}


# --- series ---

@pytest.fixture(scope="module")
def steady(podspy_collector, tmp_path_factory):
    """Two minutes of windows of 10 s from T0 + 4 s on: pod a runs 1 s in each, pod b 3 s."""
    c = Collector(podspy_collector, tmp_path_factory.mktemp("steady") / "data")
    b = Batch()
    for i in range(12):
        for pod, count in (("a", 100), ("b", 300)):
            b.add(labels(pod=pod), [([MAIN, HOT], count, "running", 1, "t")],
                  start=T0 + 4 + 10 * i, clean=count)
    assert c.push(b.bytes()).status_code == 200
    yield c
    assert c.stop() == 0


def _series(steady, kind, start, end, **more):
    got = ask(steady, "SelectSeries", profile_typeID=kind, start=start * MS, end=end * MS, **more)
    return {tuple((p.name, p.value) for p in s.labels): {p.timestamp // MS - T0: p.value for p in s.points}
            for s in got.series}


def test_series_share_a_window_between_two_steps(steady):
    got = _series(steady, CPU, T0, T0 + 150, step=15)
    assert list(got) == [()]
    points = {t: v / SECOND for t, v in got[()].items()}
    # 11 s of the first step have data: 4 s CPU in 10 s; the last window ends at 124 s
    expected = {15: 4.4, **{t: 6.0 for t in range(30, 121, 15)}, 135: 1.6}
    assert points == pytest.approx(expected)
    assert sum(got[()].values()) == pytest.approx(_flame(steady, CPU, start=T0 * MS, end=(T0 + 150) * MS).total)


def test_steps_do_not_move_with_the_range(steady):
    """A later question has the same steps, and none that is cut."""
    first = _series(steady, CPU, T0 + 10, T0 + 100, step=15)[()]
    later = _series(steady, CPU, T0 + 21, T0 + 111, step=15)[()]
    assert set(first) == set(range(15, 91, 15)) and set(later) == set(range(30, 106, 15))
    for t in set(first) & set(later):
        assert first[t] == pytest.approx(later[t])


def test_a_range_shorter_than_a_step_is_one_step(steady):
    assert {t: v / SECOND for t, v in _series(steady, CPU, T0 + 20, T0 + 40, step=60)[()].items()} == \
        pytest.approx({40: 8.0})


def test_series_by_label_are_the_heaviest_first(steady):
    got = _series(steady, SAMPLES, T0, T0 + 180, step=60, group_by=["k8s.pod.name", "no_such"])
    assert list(got) == [(("k8s.pod.name", "b"), ("no_such", "")), (("k8s.pod.name", "a"), ("no_such", ""))]
    assert got[(("k8s.pod.name", "b"), ("no_such", ""))] == pytest.approx({60: 1680, 120: 1800, 180: 120})
    only = _series(steady, SAMPLES, T0, T0 + 180, step=60, group_by=["k8s_pod_name"], limit=1)
    assert list(only) == [(("k8s_pod_name", "b"),)]


def test_a_step_with_a_window_but_no_sample_is_0_and_one_without_is_left_out(steady):
    got = _series(steady, "gil:waits:nanoseconds:wall:nanoseconds", T0, T0 + 300, step=60)
    assert got == {(): {60: 0, 120: 0, 180: 0}}


# --- what is refused ---

@pytest.mark.parametrize("method, fields, says", [
    ("SelectSeries", {"profile_typeID": "x", "step": 15}, "no profile type"),
    ("SelectSeries", {"profile_typeID": CPU, "step": 0}, "step"),
    ("SelectSeries", {"profile_typeID": CPU, "step": 14}, "step"),
    ("SelectSeries", {"profile_typeID": CPU, "step": float("nan")}, "step"),
    ("SelectSeries", {"profile_typeID": CPU, "step": float("inf")}, "step"),
    ("SelectSeries", {"profile_typeID": CPU, "step": 15, "start": 1, "end": 1000000000}, "steps"),
    ("SelectSeries", {"profile_typeID": CPU, "step": 15, "group_by": ["x"] * 9}, "group_by"),
    ("SelectSeries", {"profile_typeID": CPU, "step": 15, "group_by": [""]}, "group_by"),
    ("SelectSeries", {"profile_typeID": CPU, "step": 15, "start": 5, "end": 5}, "before end"),
    ("SelectMergeStacktraces", {"profile_typeID": ""}, "no profile type"),
    ("SelectMergeStacktraces", {"profile_typeID": "other:a:count:x:y"}, "no profile type"),
    ("SelectMergeStacktraces", {"profile_typeID": CPU, "max_nodes": -1}, "max_nodes"),
    ("SelectMergeStacktraces", {"profile_typeID": CPU, "start": -5, "end": 5}, "before end"),
    ("LabelValues", {}, "name is empty"), ("LabelNames", {"matchers": ["{}"] * 17}, "selectors"),
    ("ProfileTypes", {"start": 9, "end": 2 ** 62}, "before end"),
])
def test_a_wrong_field_is_refused_with_its_reason(filled, method, fields, says):
    status, code, message = refusal(filled, method, **{**({} if "start" in fields else _span()), **fields})
    assert (status, code) == (400, "invalid_argument") and says in message


@pytest.mark.parametrize("method, fields", [
    ("SelectSeries", {"step": 15, "aggregation": 1}), ("SelectMergeStacktraces", {"format": 2}),
    ("SelectMergeStacktraces", {"profile_id_selector": ["00" * 16]})])
def test_what_is_not_done_here_is_refused_rather_than_ignored(filled, method, fields):
    assert refusal(filled, method, profile_typeID=CPU, **_span(), **fields)[:2] == (501, "unimplemented")


def test_damaged_messages_are_refused(filled):
    for method in METHODS:
        for body in (b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x08", b"\x00" * 9, b"x" * 300000):
            got = post(filled, method, body)
            assert got.status_code == 400 and got.json()["code"] == "invalid_argument"


def test_an_expression_takes_a_bounded_number_of_steps(collector):
    assert collector.push(usual_batch(**{"process.command": "a" * 60 + "b"}).bytes()).status_code == 200
    status, code, message = refusal(collector, "LabelNames", **_span(),
                                    matchers=['{process_command=~"((a+)+)+"}'])
    assert (status, code) == (400, "invalid_argument") and "too many steps" in message


def test_the_credential_is_that_of_queries(filled):
    body = pb.TypesRequest().SerializeToString()
    for token, headers in ((None, {}), ("ingest", {}), (None, {"Authorization": "Bearer wrong"})):
        got = post(filled, "ProfileTypes", body, headers, token)
        assert got.status_code == 401
        assert set(got.json()) == {"code", "message"} and got.json()["code"] == "unauthenticated"
    assert post(filled, "ProfileTypes", body).status_code == 200


def test_bodies_come_compressed_or_not_and_in_one_form(filled):
    body = pb.TypesRequest(**_span()).SerializeToString()
    packed = post(filled, "ProfileTypes", gzip.compress(body), {"Content-Encoding": "gzip"})
    assert packed.status_code == 200 and packed.content == post(filled, "ProfileTypes", body).content
    assert post(filled, "ProfileTypes", body, {"Content-Type": "application/json"}).status_code == 400
    assert post(filled, "ProfileTypes", body, {"Content-Encoding": "br"}).status_code == 501
    bomb = gzip.compress(bytes(50 << 20))
    assert post(filled, "ProfileTypes", bomb, {"Content-Encoding": "gzip"}).status_code == 400


def test_random_messages_never_end_the_collector(filled):
    for i in range(200):
        method = list(METHODS)[i % 5]
        assert post(filled, method, os.urandom(i)).status_code in (200, 400, 501)
    assert filled.get_plain("/healthz").status_code == 200


def test_questions_of_grafana_are_counted(collector):
    name = 'podspy_collector_grafana_requests_total{method="LabelNames"}'
    before = collector.metric(name)
    assert collector.push(usual_batch().bytes()).status_code == 200
    ask(collector, "LabelNames", **_span())
    assert collector.metric(name) == before + 1
