"""How answers are sent: compression, HEAD, ETag, caching, and no control characters."""

import gzip
import importlib
import re
import shutil
import socket
import subprocess
import sys
import time

import pytest
import requests

from collector import REPO, Batch, labels

READS = ["/profiles?pod=demo&format=svg", "/profiles?pod=demo&format=json", "/top", "/pods", "/metrics",
         "/list", "/", "/readyz", "/healthz"]


def raw(c, request):
    """The answer on the plain listener as it is on the wire: (status line and headers, body)."""
    with socket.create_connection(("127.0.0.1", c.http), timeout=30) as s:
        s.sendall(request.encode() + b"Host: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    head, body = answer.split(b"\r\n\r\n", 1)
    return head.decode(), body


def headers_of(head):
    return {k.lower(): v for k, v in (line.split(": ", 1) for line in head.split("\r\n")[1:])}


@pytest.mark.parametrize("path", READS[:5])
@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_answers_are_compressed_as_accepted(filled, path, coding):
    head, body = raw(filled, f"GET {path} HTTP/1.1\r\nAccept-Encoding: br, {coding};q=0.5\r\n")
    headers = headers_of(head)
    assert headers["content-encoding"] == coding
    assert "Accept-Encoding" in headers["vary"]
    assert int(headers["content-length"]) == len(body)
    plain = gzip.decompress(body) if coding == "gzip" else subprocess.run(
        ["zstd", "-dc"], input=body, capture_output=True, check=True).stdout
    assert len(body) < 0.7 * len(plain)
    if "format=svg" in path:
        assert plain.endswith(b"</svg>\n")
    for refusing in ("", "Accept-Encoding: identity\r\n", f"Accept-Encoding: {coding};q=0\r\n"):
        head, _ = raw(filled, f"GET {path} HTTP/1.1\r\n{refusing}")
        assert "content-encoding" not in headers_of(head)
        assert "Accept-Encoding" in headers_of(head)["vary"]


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_head_has_the_headers_of_get_and_no_body(filled, path, coding):
    answers = [raw(filled, f"{method} {path} HTTP/1.1\r\nAccept-Encoding: {coding}\r\n")
               for method in ("GET", "HEAD")]
    (got, body), (head, nothing) = answers
    assert not nothing and body
    a, b = headers_of(got), headers_of(head)
    for changing in ("date", "etag", "content-length"):  # times and counters go on meanwhile
        assert bool(a.pop(changing, None)) == bool(b.pop(changing, None)), changing
    assert a == b and got.split("\r\n")[0] == head.split("\r\n")[0]


@pytest.mark.parametrize("method, path, allow", [
    ("POST", "/profiles", "GET, HEAD"), ("DELETE", "/pods", "GET, HEAD"), ("OPTIONS", "/", "GET, HEAD"),
    ("PUT", "/healthz", "GET, HEAD"), ("GET", "/v1development/profiles", "POST"),
    ("HEAD", "/v1development/profiles", "POST")])
def test_a_405_names_the_allowed_methods(filled, method, path, allow):
    r = requests.request(method, f"http://127.0.0.1:{filled.http}{path}", timeout=30)
    assert r.status_code == 405 and r.headers["Allow"] == allow
    assert "Allow" not in filled.get_plain(path if allow != "POST" else "/pods").headers


def at(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


@pytest.fixture(scope="module")
def settled(podspy_collector, tmp_path_factory):
    """A collector that holds a window of ten minutes ago, and names that would drive a terminal."""
    from collector import MAIN, Collector
    c = Collector(podspy_collector, tmp_path_factory.mktemp("settled") / "data")
    b = Batch()
    b.add(labels(pod="old"), [([MAIN], 10, "running", 1, "m")], start=time.time() - 600)
    for i, odd in enumerate(ODD):
        b.add(labels(pod=f"odd{odd}pod", pid=50 + i, **{"k8s.namespace.name": odd}),
              [([(f"f{odd}n", f"/a{odd}b.py", 1)], 10, "running", 2, f"t{odd}")])
    assert c.push(b.bytes()).status_code == 200
    yield c
    assert c.stop() == 0


ODD = ["\x1b]0;x\x07", "\x08\x0c", "\x7f", "\x9b31m", "\u202e", "\u2066", "\U000e0041", "\u200b"]


def test_an_etag_that_matches_gets_304_without_a_body(settled):
    now = time.time()
    path = f"/profiles?pod=old&format=svg&from={at(now - 900)}&until={at(now - 300)}"
    first = settled.get_plain(path)
    assert first.status_code == 200 and first.headers["ETag"].startswith('"')
    for known in (first.headers["ETag"], "W/" + first.headers["ETag"], '"x", ' + first.headers["ETag"]):
        again = settled.get_plain(path, headers={"If-None-Match": known})
        assert again.status_code == 304 and not again.content
        for name in ("ETag", "Cache-Control", "Vary", "Content-Security-Policy"):
            assert again.headers[name] == first.headers[name]
    assert settled.get_plain(path, headers={"If-None-Match": '"x"'}).status_code == 200
    other = settled.get_plain(path, headers={"If-None-Match": first.headers["ETag"],
                                             "Accept-Encoding": "identity"})
    assert other.status_code == 200 and other.headers["ETag"] != first.headers["ETag"]


@pytest.mark.parametrize("path", ["/profiles?pod=old&format=json", "/top?pod=old", "/pods?pod=old"])
def test_only_answers_about_a_past_time_may_be_cached(settled, path):
    now = time.time()
    over = {"from": at(now - 900), "until": at(now - 300)}
    for more, kept in ((over, True), ({"from": str(now - 900), "until": str(now - 300)}, True),
                       ({"until": at(now - 300)}, True),
                       ({}, False), ({"from": at(now - 900)}, False),
                       ({**over, "until": at(now - 60)}, False), ({**over, "until": "now"}, False),
                       ({**over, "from": "-20m"}, False), ({"from": "-20m", "until": "-5m"}, False)):
        r = settled.get_plain(path, params=more)
        assert r.status_code == 200, r.text
        assert r.headers["Cache-Control"] == ("private, max-age=300" if kept else "no-store"), more
    gone = settled.get_plain(path.replace("pod=old", "pod=none"), params=over)
    assert gone.status_code == 404 and gone.headers["Cache-Control"] == "no-store"


def drives_a_terminal(text):
    return sorted({hex(ord(c)) for c in text if c != "\n" and (
        ord(c) < 0x20 or 0x7f <= ord(c) <= 0x9f or 0x202a <= ord(c) <= 0x202e
        or 0x2066 <= ord(c) <= 0x2069 or ord(c) in (0x200b, 0x200e, 0x200f) or ord(c) >= 0xe0000)})


@pytest.mark.parametrize("path", ["/list", "/pods", "/top", "/profiles?format=json", "/profiles?format=svg",
                                  "/profiles?format=collapsed&threads=1&processes=1",
                                  "/profiles?format=speedscope", "/profiles?pod=none", "/metrics"])
def test_names_in_answers_hold_no_control_characters(settled, path):
    r = settled.get_plain(path)
    assert len(r.content) > 100
    assert drives_a_terminal(r.content.decode()) == []
    assert "default-src 'none'" in r.headers["Content-Security-Policy"]


def test_echoed_parameters_hold_no_control_characters(settled):
    for odd in ODD:
        for path in ("/profiles", "/pods", "/profiles?format=svg&pod=old"):
            r = settled.get_plain(path, params={"pod": odd})
            assert drives_a_terminal(r.content.decode()) == [], (odd, path)


def test_json_carries_names_unchanged(settled):
    names = {p["namespace"] for p in settled.get_plain("/pods").json()["pods"]}
    assert set(ODD) <= names
    listing = settled.get_plain("/list").text
    assert "odd\\x7fpod" in listing and "odd\\u202epod" in listing and "odd\\x1b]0;x\\x07pod" in listing


# --- totals: what was pushed is what each form of an answer adds up to ---

def _compact_total(answer, column="self"):
    """The samples of a compact tree, node by node; every number in it leads somewhere."""
    nodes, frames = answer["nodes"], answer["frames"]
    assert len({len(nodes[k]) for k in ("depth", "frame", column)}) == 1
    assert len({len(frames[k]) for k in ("name", "file", "line", "kind")}) == 1
    assert max(nodes["frame"]) < len(frames["name"])
    assert max(frames["name"] + frames["file"]) < len(answer["strings"])
    assert nodes["depth"][0] == 0
    assert all(1 <= b <= a + 1 for a, b in zip(nodes["depth"], nodes["depth"][1:]))
    return sum(nodes[column])


def _svg_totals(text):
    """The samples that a flamegraph carries: (of its own, of the side it is compared with)."""
    tree = text.split('<metadata id="frames">')[1].split("</metadata>")[0].split("\n\n")[-1]
    fields = [node.split(",") for node in tree.split()]
    return tuple(sum(int(f[k], 36) for f in fields if len(f) > k and f[k]) for k in (3, 4))


@pytest.fixture(scope="module")
def pprof_total(tmp_path_factory):
    """The samples of a pprof file, as protoc's own Python code reads it."""
    out = tmp_path_factory.mktemp("pprof")
    [proto] = (REPO / "shared" / "formats" / "proto").glob("*.proto")
    subprocess.run(["protoc", f"--python_out={out}", f"-I{proto.parent}", proto.name], check=True)
    sys.path.insert(0, str(out))
    module = importlib.import_module(f"{proto.stem.replace('-', '_')}_pb2")
    message = next(m for m in vars(module).values() if getattr(m, "__name__", "").endswith("Profile"))

    def total(body):
        profile = message.FromString(gzip.decompress(body))
        return sum(s.value[0] for s in profile.sample)

    yield total
    sys.path.remove(str(out))


def _chrome_total(events):
    """Seconds that the outermost calls of all threads take."""
    depth, began, sum_us = {}, {}, 0
    for e in events:
        if e["ph"] not in "BE":
            continue
        key = e["pid"], e["tid"]
        if e["ph"] == "B":
            began.setdefault(key, e["ts"]) if not depth.get(key) else None
            depth[key] = depth.get(key, 0) + 1
        else:
            depth[key] -= 1
            if not depth[key]:
                sum_us += e["ts"] - began.pop(key)
    assert not any(depth.values())
    return sum_us / 1e6


@pytest.fixture(scope="module")
def counted(podspy_collector, tmp_path_factory):
    """Three processes, four windows of each, 40 stacks a window; (collector, all, running samples)."""
    from collector import MAIN, Collector
    c = Collector(podspy_collector, tmp_path_factory.mktemp("counted") / "data")
    now, everything, running = time.time(), 0, 0
    for window in range(4):
        b = Batch()
        for process in range(3):
            stacks = [([MAIN, (f"f{i}", "/app/a.py", i), (f"g{i % 7}", "/app/b.py", 3)],
                       1 + (i * 7 + window + process) % 11, ("running", "waiting")[i % 2], 10 + i % 3,
                       f"t{i % 3}") for i in range(40)]
            everything += sum(n for _, n, *_ in stacks)
            running += sum(n for _, n, state, *_ in stacks if state == "running")
            b.add(labels(pod=f"web-{process}", pid=100 + process), stacks,
                  start=now - 60 + 10 * window)
        assert c.push(b.bytes()).status_code == 200
    yield c, everything, running
    assert c.stop() == 0


@pytest.mark.parametrize("idle", [0, 1])
@pytest.mark.parametrize("more", ["", "&max_nodes=10", "&threads=1", "&processes=0&lines=0"])
def test_every_format_adds_up_to_what_was_pushed(counted, pprof_total, idle, more):
    c, everything, running = counted
    samples = everything if idle else running

    def get(form):
        r = c.get_plain(f"/profiles?format={form}&idle={idle}{more}")
        assert r.status_code == 200, r.text
        return r

    assert get("json").json()["root"]["total"] == samples
    compact = get("compact").json()
    assert compact["total"] == samples and _compact_total(compact) == samples
    assert compact["total_ns"] == samples * 10_000_000 == compact["nodes"]["period_ns"] * samples
    assert _svg_totals(get("svg").text)[0] == samples
    assert sum(int(line.rsplit(" ", 1)[1]) for line in get("collapsed").text.splitlines()) == samples
    weights = sum(sum(p["weights"]) for p in get("speedscope").json()["profiles"])
    assert weights == pytest.approx(samples / 100)
    assert pprof_total(get("pprof").content) == samples
    assert _chrome_total(get("chrometrace").json()) == pytest.approx(samples / 100)


def test_top_timeline_and_stacks_add_up_to_what_was_pushed(counted):
    c, everything, running = counted
    assert c.get_plain("/top?idle=1").json()["samples"] == everything
    functions = c.get_plain("/top?idle=1").json()["functions"]
    assert sum(f["self"] for f in functions) == everything
    for step in ("", "step=10&", "step=7s&", "step=1m&", "step=1h&"):
        answer = c.get_plain(f"/timeline?{step}from=-20m").json()
        states = [s["states"] for s in answer["steps"]]
        assert sum(s["running"] for s in states) == running, step
        assert sum(sum(s.values()) for s in states) == everything, step
        assert answer["processes"] == 3
    last = c.get_plain("/stacks?max_nodes=1000").json()
    assert last["processes_in_all"] == len(last["processes"]) == 3
    for process in last["processes"]:
        number = int(process["labels"]["process.pid"]) - 100
        pushed = sum(1 + (i * 7 + 3 + number) % 11 for i in range(40))
        assert sum(t["samples"] for t in process["threads"]) == pushed, "of the latest window alone"
        for t in process["threads"]:
            assert sum(s["samples"] for s in t["stacks"]) + t["other_samples"] == t["samples"]
            assert sum(t["states"].values()) == t["samples"]


def test_a_compact_answer_has_a_fraction_of_the_bytes(counted):
    c, _, _ = counted
    tree, compact = (c.get_plain(f"/profiles?format={form}&idle=1").json() for form in ("json", "compact"))
    assert compact["meta"]["series"] == tree["meta"]["series"]

    def names(node):
        return [node["name"]] + [n for child in node["children"] for n in names(child)]

    strings, frames = compact["strings"], compact["frames"]["name"]
    assert [strings[frames[i]] for i in compact["nodes"]["frame"]] == names(tree["root"])
    sizes = [len(c.get_plain(f"/profiles?format={form}&idle=1&processes=1").content)
             for form in ("json", "compact")]
    assert sizes[1] < sizes[0] / 3


# --- comparisons ---

@pytest.fixture(scope="module")
def compared(podspy_collector, tmp_path_factory):
    from collector import COLD, HOT, MAIN, Collector
    c = Collector(podspy_collector, tmp_path_factory.mktemp("compared") / "data")
    b = Batch()
    b.add(labels(pod="old", pid=1), [([MAIN, HOT], 300, "running", 1, "m"), ([MAIN, COLD], 700, "running", 1, "m"),
                                     ([MAIN, ("gone", "/app/x.py", 1)], 100, "running", 1, "m"),
                                     ([MAIN, HOT], 5000, "waiting", 2, "n")])
    b.add(labels(pod="new", pid=2), [([MAIN, HOT], 1200, "running", 3, "m"), ([MAIN, COLD], 700, "running", 3, "m"),
                                     ([MAIN, ("rare", "/app/x.py", 9)], 3, "running", 3, "m"),
                                     ([MAIN, ("came", "/app/x.py", 5)], 97, "running", 4, "m")])
    b.add(labels(pod="same", pid=3), [([MAIN, HOT], 29, "running", 1, "m"), ([MAIN, COLD], 71, "running", 1, "m")])
    assert c.push(b.bytes()).status_code == 200
    yield c
    assert c.stop() == 0


def _diff(c, query):
    r = c.get_plain(f"/profiles/diff?{query}")
    assert r.status_code == 200, r.text
    return r.json()


def test_a_diff_counts_both_sides_and_marks_what_chance_does_not_explain(compared):
    answer = _diff(compared, "pod=new&base.pod=old")
    assert answer["samples"] == [1100, 2000]
    assert _compact_total(answer) == 1100 and _compact_total(answer, "compared") == 2000
    rows = {f["name"]: f for f in answer["functions"]}
    assert rows["hot"]["self"] == [300, 1200] and rows["main"]["total"] == [1100, 2000]
    assert rows["gone"]["self"] == [100, 0] and rows["came"]["self"] == [0, 97]
    assert rows["hot"]["self_change"] == pytest.approx(1200 / 2000 - 300 / 1100, abs=1e-6)
    assert {n for n, f in rows.items() if f["significant"]} == {"hot", "cold", "gone", "came"}
    assert rows["hot"]["z"] > 0 > rows["gone"]["z"] and rows["rare"]["z"] == 0, "too few samples"
    assert answer["functions"][0]["name"] in ("hot", "cold"), "the largest change comes first"
    assert answer["base"].startswith("pod=old from 20") and answer["compared"].startswith("pod=new")
    answer = _diff(compared, "pod=same&base.pod=old&base.until=now&exclude=gone")
    assert not any(f["significant"] for f in answer["functions"]), "29 of 100 and 300 of 1000"
    assert answer["z_cutoff"] is None
    assert _diff(compared, "pod=new&base.pod=old&idle=1")["samples"] == [6100, 2000]


def test_a_diff_flamegraph_carries_both_sides_when_folded_as_well(compared):
    for more in ("", "&max_nodes=10"):
        r = compared.get_plain(f"/profiles/diff?pod=new&base.pod=old&format=svg{more}")
        assert r.status_code == 200 and r.headers["Content-Type"] == "image/svg+xml"
        assert "script-src 'sha256-" in r.headers["Content-Security-Policy"]
        assert _svg_totals(r.text) == (1100, 2000)
        assert "2000 samples, base 1100" in r.text and "Base: pod=old from 20" in r.text


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_a_browser_draws_the_diff_under_its_policy(compared, tmp_path):
    p = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         f"--user-data-dir={tmp_path}", "--virtual-time-budget=3000", "--dump-dom",
         f"http://127.0.0.1:{compared.http}/profiles/diff?pod=new&base.pod=old&format=svg"],
        capture_output=True, text=True, timeout=120)
    assert 'class="ready"' in re.search(r"<svg xmlns[^>]*>", p.stdout)[0], "the script did not run to its end"
    assert "Content Security Policy" not in p.stderr
    drawn = {m[2].split(" ")[0]: (m[1], m[2]) for m in re.finditer(
        r'<svg [^>]*class="f c(\d+)[^"]*"[^>]*><title>([^<]*)</title>', p.stdout)}
    assert drawn["hot"] == ("12", "hot (app/work.py:20)\n60.00 %, base 27.27 %: +32.73 points\n1200 samples, base 300")
    assert drawn["gone"][0] == "15" and "0.00 %, base 9.09 %: -9.09 points" in drawn["gone"][1]
    assert drawn["rare"][0] == "8" and "may be chance" in drawn["rare"][1]
    assert drawn["main"][0] == "8" and "2000 samples, base 1100" in drawn["main"][1]


def test_a_diff_says_what_is_wrong_with_its_parameters(compared):
    for query, named in (("pod=new", "base"), ("base.idle=1&base.pod=old", "base.idle"),
                         ("base.pod=", "pod"), ("base.pod=old&threads=1", "threads=1"),
                         ("base.pod=old&format=pprof", "pprof"), ("base.frob=1", "base.frob")):
        r = compared.get_plain(f"/profiles/diff?{query}")
        assert r.status_code == 400 and r.json()["error"]["hint"], query
        assert named in r.json()["error"]["message"], query
    r = compared.get_plain("/profiles/diff?pod=new&base.pod=nobody")
    assert r.status_code == 404 and r.json()["error"]["message"].startswith("the base: ")
    assert "old" in r.json()["error"]["hint"]


def test_a_diff_is_cached_only_where_both_times_are_over(compared):
    over = f"from={at(time.time() - 7200)}&until={at(time.time() - 3600)}"
    for query, kept in ((f"{over}&base.pod=x", True), (f"{over}&base.from=-1h", False),
                        (f"{over}&base.until={at(time.time() - 600)}", True), ("base.pod=x", False)):
        r = compared.get_plain(f"/profiles/diff?{query}")
        assert r.status_code == 404  # errors are never cached
    c = compared
    ranges = f"from=0&until={int(time.time()) + 60}"
    assert "no-store" in c.get_plain(f"/profiles/diff?{ranges}&base.pod=old").headers["Cache-Control"]


# --- the timeline's gaps and losses, and what a thread waits for ---

def test_the_timeline_shows_gaps_losses_and_states(collector):
    from collector import HOT, MAIN
    start = (int(time.time()) - 900) // 60 * 60
    b = Batch()
    for minute, count in ((0, 10), (1, 20), (4, 30)):  # nothing in the minutes 2 and 3
        b.add(labels(pod="gappy"), [([MAIN, HOT], count, "running", 1, "m"), ([MAIN], 5, "waiting", 2, "n")],
              start=start + 60 * minute + 5, clean=count + 5)
    for minute in range(5):
        b.add(labels(pod="steady", pid=9), [([MAIN], 7, "runnable", 1, "m")],
              start=start + 60 * minute + 55)  # begins in one minute and ends in the next
    assert collector.push(b.bytes()).status_code == 200
    answer = collector.get_plain(f"/timeline?from={start}&until={start + 300}&step=60").json()
    assert answer["step_seconds"] == 60 and len(answer["steps"]) == 5
    assert [s["states"]["running"] for s in answer["steps"]] == [10, 20, 0, 0, 30]
    assert [s["states"]["waiting"] for s in answer["steps"]] == [5, 5, 0, 0, 5]
    assert [s["states"]["runnable"] for s in answer["steps"]] == [7] * 5
    assert [s["gaps"] for s in answer["steps"]] == [0, 0, 1, 1, 0]
    assert [s["processes"] for s in answer["steps"]] == [2, 2, 1, 1, 2]
    assert [s["quality"]["clean"] for s in answer["steps"]] == [15, 25, 0, 0, 35]
    assert answer["steps"][0]["gil"]["holds"] == 10
    one = collector.get_plain(f"/timeline?pod=gappy&thread=n&from={start}&until={start + 300}&step=60").json()
    assert [sum(s["states"].values()) for s in one["steps"]] == [5, 5, 0, 0, 5]
    for wrong in ("step=0", "step=x", "step=-5", "step=1&from=-2d", "format=svg"):
        r = collector.get_plain(f"/timeline?{wrong}")
        assert r.status_code == 400 and wrong.split("=")[0] in r.text, wrong
    assert collector.get_plain("/timeline?pod=nobody").status_code == 404


def test_stacks_say_what_a_hung_process_waits_for(collector):
    from collector import MAIN, WAIT
    b = Batch()
    b.add(labels(), [([MAIN], 999, "running", 11, "worker")], start=time.time() - 60)
    b.add(labels(), [([MAIN, WAIT], 90, "waiting", 12, "Main\x1b[2JThread"), ([MAIN], 10, "running", 12, "Main\x1b[2JThread"),
                     ([MAIN, ("acquire", "/app/lock.py", 7)], 100, "waiting", 13, "worker")])
    assert collector.push(b.bytes()).status_code == 200
    [process] = collector.get_plain("/stacks?pod=demo").json()["processes"]
    assert process["labels"]["k8s.pod.name"] == "demo" and process["problem"] is None
    main, worker = process["threads"]
    assert main["tid"] == 12 and main["states"] == {"waiting": 90, "running": 10, "runnable": 0}
    assert main["gil"]["holds"] == 10
    inner = main["stacks"][0]["frames"][0]
    assert inner == {"name": "wait_for_io", "file": "/app/net.py", "line": 40}, "innermost first"
    assert worker["stacks"][0]["frames"][0]["name"] == "acquire"
    text = collector.get_plain("/stacks?pod=demo&format=text")
    assert text.headers["Content-Type"].startswith("text/plain")
    assert "Process 4321 of demo, container web: gunicorn" in text.text
    assert "90 samples: waiting 100 %\n        wait_for_io (app/net.py:40)\n" in text.text
    assert "\x1b" not in text.text and "waiting 90 %, running 10 %, holds the GIL 10 %" in text.text
    [only] = collector.get_plain("/stacks?pod=demo&thread=13").json()["processes"][0]["threads"]
    assert only["name"] == "worker"
    running = collector.get_plain("/stacks?pod=demo&idle=0").json()["processes"][0]["threads"]
    assert [t["samples"] for t in running] == [10]
    assert collector.get_plain("/stacks?pod=demo&format=svg").status_code == 400
    assert collector.get_plain("/stacks?pod=nobody").status_code == 404
