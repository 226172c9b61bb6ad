"""Queries of people and tools, and the answers."""

import json
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree

import pytest

from collector import COLD, HOT, MAIN, Batch, labels, usual_stacks


def _names(node):
    yield node["name"]
    for child in node["children"]:
        yield from _names(child)


def _tree(c, query):
    r = c.get_plain(f"/profiles?format=json&{query}")
    assert r.status_code == 200, r.text
    return r.json()["root"]


def test_svg_names_the_functions_and_its_policy_allows_only_its_script(filled):
    r = filled.get("/profiles?pod=demo&format=svg")
    assert r.status_code == 200
    assert r.headers["Content-Type"] == "image/svg+xml"
    assert r.headers["X-Content-Type-Options"] == "nosniff"
    policy = r.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and re.search(r"script-src 'sha256-[\w+/]{43}='", policy)
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    root = xml.etree.ElementTree.fromstring(r.content)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "hot (app/work.py:20)" in r.text and "70.00 %" in r.text


def test_speedscope_collapsed_and_json_agree(filled):
    scope = filled.get("/profiles?pod=demo&format=speedscope").json()
    assert scope["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    names = {f["name"] for f in scope["shared"]["frames"]}
    assert {"main", "hot", "cold"} <= names
    lines = filled.get("/profiles?pod=demo&format=collapsed").text.splitlines()
    assert lines == ["main (app/main.py:10);cold (app/work.py:30) 30",
                     "main (app/main.py:10);hot (app/work.py:20) 70"]
    tree = filled.get("/profiles?pod=demo&format=json").json()
    assert tree["root"]["total"] == 100
    assert tree["meta"]["series"][0]["quality"]["clean"] == 500


def test_accept_decides_the_format_by_default(filled):
    for accept, kind in (("text/html,application/xhtml+xml,*/*;q=0.8", "image/svg+xml"),
                         ("image/svg+xml", "image/svg+xml"), ("*/*", "application/json"),
                         ("application/json", "application/json")):
        r = filled.get_plain("/profiles?pod=demo", headers={"Accept": accept})
        assert r.headers["Content-Type"] == kind, accept


def test_head_is_answered_without_a_body(filled):
    import requests
    r = requests.head(f"http://127.0.0.1:{filled.http}/profiles?pod=demo&format=svg", timeout=30)
    assert r.status_code == 200 and int(r.headers["Content-Length"]) > 1000 and not r.content


@pytest.mark.parametrize("query", [
    "cluster=", "frob=1", "idle=2", "gil=yes", "native=", "processes=2", "from=yesterday",
    "from=-15", "until=2026-13-01T00:00:00Z", "from=-5m&until=-10m", "include=(", "exclude=[",
    "include=(a)\\2", "include=((x{999}){999}){999}", "max_nodes=0", "max_nodes=-1", "format=pdf",
    "pod=", "thread="])
def test_a_wrong_parameter_is_400_and_named(filled, query):
    r = filled.get_plain(f"/profiles?{query}")
    assert r.status_code == 400, r.text
    error = r.json()["error"]
    name = query.split("=")[0]
    assert name in error["message"] + error["hint"]
    assert error["hint"]


def test_too_many_parameters_are_400(filled):
    r = filled.get_plain("/profiles?" + "&".join(["pod=x"] * 65))
    assert r.status_code == 400


def test_unknown_paths_are_404_and_unknown_methods_405(filled):
    import requests
    assert filled.get_plain("/nothing").status_code == 404
    r = requests.delete(f"http://127.0.0.1:{filled.http}/pods", timeout=30)
    assert r.status_code == 405
    assert filled.get_plain("/healthz?x=1").status_code == 400


def test_an_empty_result_is_404_with_the_query_and_what_exists(filled):
    r = filled.get("/profiles?pod=other&format=svg")
    assert r.status_code == 404
    error = r.json()["error"]
    assert error["code"] == "not_found"
    assert "pod=other" in error["message"] and "from 20" in error["message"]
    assert error["hint"] == "in that time there is 1 pod: demo"
    r = filled.get("/profiles?namespace=nowhere&pod=demo")
    assert "namespace: shop" in r.json()["error"]["hint"]
    r = filled.get("/profiles?pod=demo&from=-2d&until=-1d")
    assert "the latest data is from 20" in r.json()["error"]["hint"]
    r = filled.get("/profiles?pod=demo&from=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00Z")
    assert r.status_code == 404
    assert "the latest data is from 20" in r.json()["error"]["hint"], "also where all is later"
    assert filled.get("/pods?pod=other").status_code == 404


def test_an_empty_store_says_so(collector):
    r = collector.get("/profiles")
    assert r.status_code == 404
    assert "nothing is stored yet" in r.json()["error"]["hint"]


@pytest.fixture(scope="module")
def fleet(podspy_collector, tmp_path_factory):
    """Three pods on two nodes, each with a function of its own."""
    from collector import Collector
    c = Collector(podspy_collector, tmp_path_factory.mktemp("fleet") / "data")
    b = Batch()
    for i, (pod, node, image, cluster) in enumerate([
            ("web-1", "n1", "shop:1", "eu"), ("web-2", "n2", "shop:2", "eu"),
            ("db-1", "n2", "store:1", "us")]):
        b.add(labels(pod=pod, pid=100 + i, **{
            "k8s.node.name": node, "container.image.name": image, "k8s.cluster.name": cluster,
            "service.name": pod[:-2], "k8s.container.name": f"c{i}", "container.id": f"id{i}",
            "podspy.process.ns_pid": 10 + i, "k8s.namespace.name": "a" if i else "b"}),
            [([MAIN, (f"only_{pod}", "/app/x.py", 1)], 10, "running", 50 + i, f"thread-{i}")])
    old = time.time() - 7200
    b.add(labels(pod="old", pid=1), [([MAIN, ("ancient", "/app/x.py", 1)], 10, "running", 1, "m")],
          start=old)
    assert c.push(b.bytes()).status_code == 200
    yield c
    assert c.stop() == 0


@pytest.mark.parametrize("query, found", [
    ("", "web-1 web-2 db-1"), ("pod=web-1", "web-1"), ("pod=web-1&pod=db-1", "web-1 db-1"),
    ("pod=web-*", "web-1 web-2"), ("pod=*-1", "web-1 db-1"), ("node=n2", "web-2 db-1"),
    ("node=n2&pod=web*", "web-2"), ("image=shop:*", "web-1 web-2"), ("cluster=us", "db-1"),
    ("namespace=a", "web-2 db-1"), ("service=web", "web-1 web-2"), ("container=c1", "web-2"),
    ("container=id2", "db-1"), ("pid=100", "web-1"), ("pid=12", "db-1"), ("thread=51", "web-2"),
    ("thread=thread-*", "web-1 web-2 db-1"), ("thread=thread-0&thread=52", "web-1 db-1"),
    ("include=only_web", "web-1 web-2"), ("include=web-1|db", "web-1 db-1"),
    ("exclude=only_web", "db-1"), ("include=x\\.py&exclude=db", "web-1 web-2"),
    ("from=-3h", "web-1 web-2 db-1 old"), ("from=-3h&until=-1h", "old"),
])
def test_each_selector_selects_what_it_names(fleet, query, found):
    names = {n for n in _names(_tree(fleet, query)) if n.startswith("only_") or n == "ancient"}
    assert names == {"ancient" if p == "old" else f"only_{p}" for p in found.split()}


def test_each_form_of_a_time_is_accepted(fleet):
    then = time.time() - 3 * 3600
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(then))
    for form in (f"{text}Z", f"{text}.5Z", f"{text}%2B00:00", f"{text}+00:00", f"{then:.3f}",
                 f"{int(then)}", "-180m", "-10800s"):
        assert "ancient" in set(_names(_tree(fleet, f"from={form}"))), form
    offset = time.strftime("%Y-%m-%dT%H:%M:%S-02:00", time.gmtime(then - 7200))
    assert "ancient" in set(_names(_tree(fleet, f"from={offset}")))


def test_a_filter_that_excludes_everything_is_404(fleet):
    r = fleet.get_plain("/profiles?include=no_such_function")
    assert r.status_code == 404
    assert "include=no_such_function" in r.json()["error"]["message"]


def test_view_parameters_change_the_view(filled, fleet):
    assert _tree(filled, "idle=1")["total"] == 500
    assert _tree(filled, "gil=1&idle=1")["total"] == 100
    top = _tree(filled, "lines=0")["children"][0]
    assert top["line"] == 0
    names = set(_names(_tree(filled, "threads=1")))
    assert any("worker" in n for n in names) and any("MainThread" in n for n in names)
    assert any(n.startswith("gunicorn ") for n in _names(_tree(fleet, "")))
    assert not any(n.startswith("gunicorn ") for n in _names(_tree(fleet, "processes=0")))
    assert "gunicorn (4321)" in _names(_tree(filled, "processes=1"))


def test_states_are_innermost_frames(filled):
    """The names say all that was counted, and take nothing from the frames above them."""
    tree = _tree(filled, "states=1&idle=1&lines=0")
    names = list(_names(tree))
    assert "[running, holds the GIL]" in names and "[waiting]" in names
    assert tree["total"] == 500
    stack = [["main", "hot", "[running, holds the GIL]"], ["main", "wait_for_io", "[waiting]"]]
    lines = filled.get("/profiles?pod=demo&states=1&idle=1&lines=0&format=collapsed").text.splitlines()
    for path in stack:
        assert any([part.split(" (")[0] for part in line.rsplit(" ", 1)[0].split(";")] == path
                   for line in lines), lines
    assert not any(n.startswith("[running") for n in _names(_tree(filled, "idle=1")))
    assert filled.get("/profiles/diff?pod=demo&base.pod=demo&states=1").status_code == 400


def test_pods_count_states_and_activity_when_asked(filled):
    process = filled.get("/pods?pod=demo").json()["pods"][0]["containers"][0]["processes"][0]
    assert "activity" not in process and "states" not in process
    answer = filled.get("/pods?pod=demo&steps=30").json()
    process = answer["pods"][0]["containers"][0]["processes"][0]
    assert process["states"] == {"waiting": 400, "running": 100, "runnable": 0}
    assert process["gil"] == {"holds": 100, "waits": 0} and process["gc"] == 0
    assert len(process["activity"]) == 30 and sum(process["activity"]) == 100
    assert process["activity"][-1] == 100  # it has just been pushed
    for wrong in ("0", "241", "x", "-1", ""):
        r = filled.get(f"/pods?steps={wrong}")
        assert r.status_code == 400 and "1 to 240" in r.json()["error"]["hint"]
    assert filled.get("/top?steps=3").status_code == 400


def test_max_nodes_folds_and_keeps_the_total(collector):
    b = Batch()
    b.add(labels(), [([MAIN, (f"f{i}", "/m.py", 1)], 1 + i, "running", 1, "m")
                     for i in range(200)])
    assert collector.push(b.bytes()).status_code == 200
    root = _tree(collector, "max_nodes=20")
    assert root["total"] == sum(range(1, 201))
    assert sum(1 for _ in _names(root)) < 40
    assert "(other)" in _names(root)


def test_windows_of_one_pod_are_merged(collector):
    for _ in range(3):
        b = Batch()
        b.add(labels(), usual_stacks())
        assert collector.push(b.bytes()).status_code == 200
    root = _tree(collector, "pod=demo")
    assert root["total"] == 300
    shares = {c["name"]: c["total"] for c in root["children"][0]["children"]}
    assert shares == {HOT[0]: 210, COLD[0]: 90}


def test_pods_lists_pods_containers_and_processes(filled):
    r = filled.get("/pods")
    assert r.headers["Content-Type"] == "application/json"
    [pod] = r.json()["pods"]
    assert pod["pod"] == "demo" and pod["namespace"] == "shop" and pod["node"] == "node-1"
    [container] = pod["containers"]
    assert container["container_id"] == "c0ffee" and container["image"] == "shop:1"
    [process] = container["processes"]
    assert process["pid"] == 4321 and process["ns_pid"] == 7
    assert process["python_version"] == "3.12.1" and process["command"] == "gunicorn"
    assert process["rate_hz"] == pytest.approx(100)
    assert process["quality"]["clean"] == 500 and process["windows"] == 1
    assert {t["name"] for t in process["threads"]} == {"worker", "MainThread"}
    assert process["first_seen"] < process["last_seen"]
    assert process["problem"] is None


def test_a_process_without_data_says_why(collector):
    b = Batch()
    why = "the agent lacks CAP_SYS_PTRACE"
    b.add(labels(pod="blind", **{"podspy.problem": why}), [])
    assert collector.push(b.bytes()).status_code == 200
    [pod] = collector.get("/pods").json()["pods"]
    assert pod["containers"][0]["processes"][0]["problem"] == why
    r = collector.get("/profiles?pod=blind")
    assert r.status_code == 404
    assert why in r.json()["error"]["hint"]


def test_a_solved_problem_is_no_longer_listed(collector):
    b = Batch()
    b.add(labels(**{"podspy.problem": "no samples yet"}), [], start=time.time() - 60)
    b.add(labels(), usual_stacks())
    assert collector.push(b.bytes()).status_code == 200
    [pod] = collector.get("/pods").json()["pods"]
    [process] = pod["containers"][0]["processes"]
    assert process["problem"] is None and process["windows"] == 2


def test_the_index_lists_the_pods_with_escaped_links(collector):
    b = Batch()
    b.add(labels(pod='<b>&"x'), usual_stacks())
    assert collector.push(b.bytes()).status_code == 200
    r = collector.get("/list")
    assert r.headers["Content-Type"].startswith("text/html")
    assert "&lt;b&gt;&amp;&quot;x" in r.text and "<b>" not in r.text
    link = re.search(r'href="(/profiles\?[^"]+)"', r.text)[1].replace("&amp;", "&")
    assert collector.get(link).status_code == 200


def test_metrics_satisfy_promtool(filled):
    text = filled.get("/metrics").text
    p = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert p.returncode == 0, p.stdout + p.stderr
    assert "podspy_collector_profiles_total 1" in text


def test_the_logged_curl_command_works_as_it_stands(filled):
    line = next(l for l in filled.log.read_text().splitlines() if "query with" in l)
    command = json.loads("\"" + re.search(r'curl="((?:[^"\\]|\\.)*)"', line)[1] + "\"")
    p = subprocess.run(command.replace("NAME", "demo"), shell=True, capture_output=True, text=True)
    assert p.stdout.startswith("<?xml"), p.stdout + p.stderr


def test_concurrent_queries_are_all_answered(filled):
    import concurrent.futures
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        codes = list(pool.map(lambda _: filled.get("/profiles?pod=demo&format=svg").status_code,
                              range(200)))
    assert set(codes) == {200}


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_a_browser_runs_the_flamegraph_under_its_policy(filled, tmp_path):
    p = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         f"--user-data-dir={tmp_path}", "--virtual-time-budget=3000", "--dump-dom",
         f"http://127.0.0.1:{filled.http}/profiles?pod=demo&format=svg"],
        capture_output=True, text=True, timeout=120)
    head = re.search(r"<svg xmlns[^>]*>", p.stdout)[0]
    assert 'class="ready"' in head, "the script did not run to its end"
    assert "Content Security Policy" not in p.stderr


def _top(c, query):
    r = c.get_plain(f"/top?{query}")
    assert r.status_code == 200, r.text
    return r.json()


def test_top_counts_self_and_total_of_each_function(filled):
    told = _top(filled, "pod=demo")
    assert told["samples"] == 100 and told["functions_in_all"] == 3
    rows = [(f["name"], f["self"], f["total"]) for f in told["functions"]]
    assert rows == [("hot", 70, 70), ("cold", 30, 30), ("main", 0, 100)]
    main = told["functions"][2]
    assert main["file"] == "/app/main.py" and main["kind"] == "python"
    assert main["total_seconds"] == pytest.approx(1.0)
    told = _top(filled, "pod=demo&idle=1")
    assert told["samples"] == 500 and told["functions"][0]["name"] == "wait_for_io"
    assert [f["name"] for f in _top(filled, "pod=demo&include=cold")["functions"]] == ["cold", "main"]
    assert len(_top(filled, "pod=demo&idle=1&max_nodes=10")["functions"]) == 4


def test_top_counts_a_recursive_function_once_a_sample(collector):
    b = Batch()
    b.add(labels(pod="deep"), [([MAIN, HOT, COLD, HOT, HOT], 7, "running", 11, "worker")], clean=7)
    assert collector.push(b.bytes()).status_code == 200
    rows = {f["name"]: (f["self"], f["total"]) for f in _top(collector, "pod=deep")["functions"]}
    assert rows == {"hot": (7, 7), "cold": (0, 7), "main": (0, 7)}


def test_top_refuses_unknown_parameters_and_names_the_known(filled):
    r = filled.get_plain("/top?pod=nobody")
    assert r.status_code == 404 and "demo" in r.json()["error"]["hint"]
    r = filled.get_plain("/top?pod=demo&format=svg")
    assert r.status_code == 400 and "format" in r.json()["error"]["message"]
