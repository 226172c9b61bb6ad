"""Samples beside what the kernel counted: from a real CPU limit to every view."""

import argparse
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import re
import time
import xml.etree.ElementTree

import pytest
import requests

import pythons
import targets

REPO = pathlib.Path(__file__).resolve().parents[3]
SOME = [p for p in pythons.few() if p.minor >= (3, 7)]
each = pytest.mark.parametrize("python", [SOME[0], SOME[-1]], ids=pythons.id_of)

# Of a CPU: so little that the limit stops a busy program on a machine that others use too.
LIMIT = 3
BUSY = "print(1, flush=True)\nwhile True: pass\n"
HALF = """
import time
print(1, flush=True)
while True:
    end = time.thread_time() + 0.1
    while time.thread_time() < end:
        pass
    time.sleep(0.1)
"""


def run_of(code, python=SOME[-1]):
    return targets.running([*python.prefix, python.path, "-c", code])


def cpu_seconds(pid):
    return time.clock_gettime((~pid << 3) | 2)  # clockid_t of a process, clock_getcpuclockid(3)


def record(podspy, pid, *flags):
    """The document and what was said on stderr."""
    r = targets.run([podspy, "record", "-p", str(pid), "-o", "-", *flags])
    assert r.returncode == 0, r.stderr
    return r.stdout, r.stderr.decode()


def assert_is_part(told, around):
    """The printed figure of a recording is most of what cpu.stat counted around it."""
    assert around > 0, "the limit stopped nobody"
    assert around * 0.4 < told <= around + 0.01, (told, around)


def account_of(document):
    return json.loads(document)["meta"]["account"]


def texts(svg):
    tree = xml.etree.ElementTree.fromstring(svg)
    return {e.get("id"): "".join(e.itertext()) for e in tree.iter("{http://www.w3.org/2000/svg}text")}


@each
def test_cpu_time_equals_the_kernels_clock(python, podspy):
    """By the process's clock, read before and after: the recording lies in between."""
    with run_of(HALF, python) as t:
        before = cpu_seconds(t.pid)
        document, _ = record(podspy, t.pid, "-d", "4", "-f", "json")
        after = cpu_seconds(t.pid)
    a = account_of(document)
    counted = a["cpu_ns"] / 1e9
    assert 0 < counted <= after - before + 0.01
    assert counted > (after - before) * 0.7  # podspy's start and end are not recorded
    assert a["of_ns"] == pytest.approx(4e9, rel=0.1)
    share, waited = a["cpu_ns"] / a["of_ns"], a["runqueue_ns"] / a["of_ns"]
    seen = (a["running_ns"] + a["runnable_ns"]) / a["of_ns"]
    # Ready is running or waiting for a CPU: where samples do not tell the two apart they say the sum.
    assert share - 0.08 < seen < share + waited + 0.08, a
    assert re.search(r"The kernel counted \d+\.\d % of CPU time, the samples say \d+\.\d %\.", a["text"])


def test_cpu_times_of_threads_are_summed(podspy):
    """Work that gives up the GIL: more than one CPU's worth where there are two."""
    code = ("import hashlib, threading\nprint(1, flush=True)\nb = bytes(1 << 22)\n"
            "def work():\n    while True: hashlib.sha256(b)\n"
            "for _ in range(3): threading.Thread(target=work).start()\n")
    with run_of(code) as t:
        before, began = cpu_seconds(t.pid), time.monotonic()
        document, _ = record(podspy, t.pid, "-d", "3", "-f", "json")
        used = (cpu_seconds(t.pid) - before) / (time.monotonic() - began)
    a = account_of(document)
    assert a["cpu_ns"] / a["of_ns"] == pytest.approx(used, rel=0.3)
    # Three are always ready, and each is either on a CPU or waits for one.
    assert (a["cpu_ns"] + a["runqueue_ns"]) / a["of_ns"] == pytest.approx(3, rel=0.15)


def test_a_cpu_limit_is_shown_in_the_footer_and_by_record(podspy, cgroup):
    limited = cgroup()
    limited.limit(LIMIT)
    with run_of(BUSY) as t:
        limited.take(t.pid)
        before = limited.throttled()
        svg, said = record(podspy, t.pid, "-d", "4")
        after = limited.throttled()
    found = texts(svg)
    told = re.search(r"The kernel counted (\d+\.\d) % of CPU time, .*Throttled by its CPU limit in (\d+) periods, "
                     r"for (\d+\.\d\d) s", found["cpu"])
    assert told, found
    assert 0 < float(told[1]) < LIMIT + 1
    assert_is_part(int(told[2]), after[0] - before[0])
    assert_is_part(float(told[3]), after[1] - before[1])
    assert "It is throttled" in found["warning"]
    assert found["cpu"] in said and "Warning: It is throttled" in said


def test_a_limit_of_a_parent_cgroup_is_shown(podspy, cgroup):
    """As a pod's is, for a container without one of its own."""
    pod = cgroup()
    pod.limit(LIMIT)
    container = cgroup("container", parent=pod)
    inner = cgroup("inner", parent=container, controller=False)
    with run_of(BUSY) as t:
        inner.take(t.pid)
        before = pod.throttled()
        document, _ = record(podspy, t.pid, "-d", "3", "-f", "json")
        after = pod.throttled()
    a = account_of(document)
    assert_is_part(a["throttled_periods"], after[0] - before[0])
    assert_is_part(a["throttled_ns"] / 1e9, after[1] - before[1])


def test_without_a_limit_nothing_is_throttled(podspy, cgroup):
    free = cgroup()
    with run_of(HALF) as t:
        free.take(t.pid)
        document, said = record(podspy, t.pid, "-d", "1", "-f", "json")
    a = account_of(document)
    assert (a["throttled_periods"], a["throttled_ns"]) == (0, 0)  # known, and none
    assert "hrottled" not in said


def test_a_program_that_ends_by_itself_is_accounted_for(podspy, tmp_path):
    """Started by record: its clock is read after its end."""
    code = "import time\nend = time.thread_time() + 1\nwhile time.thread_time() < end: pass\n"
    out = tmp_path / "out.json"
    r = targets.run([podspy, "record", "-f", "json", "-o", out, "--", SOME[-1].path, "-c", code])
    assert r.returncode == 0, r.stderr
    a = account_of(out.read_bytes())
    assert 0.7e9 < a["cpu_ns"] < 1.3e9, a  # what it did before it could be read is not in it


# --- the agent and the collector ---

@pytest.fixture
def collector(podspy_collector, tmp_path):
    from collector import Collector
    c = Collector(podspy_collector, tmp_path / "data")
    yield c
    assert c.stop() == 0


def sample_by_agent(podspy, collector, tmp_path, name, seconds=5):
    config, token = tmp_path / "agent.yaml", tmp_path / "token"
    token.write_text(collector.token("ingest"))
    config.write_text(f"""
collector: {{url: "https://127.0.0.1:{collector.https}", ca_file: "{collector.ca}", token_file: "{token}"}}
discovery: {{kubernetes: off, docker: off, processes: [{{name: shop, cmdline: "{name}"}}]}}
push: {{interval: 1s, spool_dir: "{tmp_path / 'spool'}", spool_mib: 4}}
""")
    r = targets.run([podspy, "agent", "--config", config, "--once", str(seconds)], seconds=90)
    assert r.returncode == 0, r.stderr


def metric_of(text, name):
    return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)[1])


def explained(pods):
    loader = importlib.machinery.SourceFileLoader("plugin", str(REPO / "deploy" / "k8s" / "kubectl-podspy"))
    plugin = importlib.util.module_from_spec(importlib.util.spec_from_loader("plugin", loader))
    loader.exec_module(plugin)
    return plugin.of_the_collector(argparse.Namespace(since="15m"), pods)


def test_throttling_is_in_every_answer(podspy, collector, cgroup, tmp_path):
    limited = cgroup()
    limited.limit(LIMIT)
    name = f"podspy-kernel-{os.getpid()}"
    script = tmp_path / f"{name}.py"
    script.write_text(BUSY)
    with targets.running([SOME[-1].path, str(script)]) as t:
        limited.take(t.pid)
        sample_by_agent(podspy, collector, tmp_path, name)
        after = limited.throttled()
    pods = collector.get("/pods").json()["pods"]
    process = pods[0]["containers"][0]["processes"][0]
    account = process["account"]
    print(account)
    assert pods[0]["throttled"] is True and process["throttled"] is True
    assert "It is throttled" in process["warning"]
    assert 0 < account["throttled_periods"] <= after[0]
    assert 0 < account["cpu_ns"] / account["of_ns"] < LIMIT / 100 + 0.01
    seen = (account["running_ns"] + account["runnable_ns"]) / account["of_ns"]
    assert seen == pytest.approx(1, abs=0.1)  # it is always ready

    found = texts(collector.get("/profiles", params={"format": "svg"}).content)
    assert found["cpu"] == account["text"]
    assert found["warning"] == process["warning"]
    whole = account_of(collector.get("/profiles", params={"format": "json"}).content)
    assert whole["throttled_periods"] == account["throttled_periods"]
    assert whole["cpu_ns"] == account["cpu_ns"]

    ours = (tmp_path / "spool" / "metrics.prom").read_text()
    theirs = collector.get_plain("/metrics").text
    for program, text in (("podspy_agent", ours), ("podspy_collector", theirs)):
        assert metric_of(text, f"{program}_target_throttled_periods_total") >= account["throttled_periods"]
        assert metric_of(text, f'{program}_target_cpu_seconds_total{{source="kernel"}}') == pytest.approx(
            account["cpu_ns"] / 1e9, rel=0.01)
        assert metric_of(text, f"{program}_target_runqueue_seconds_total") >= account["runqueue_ns"] / 1e9

    top = collector.get("/top").json()
    assert (top["throttled"], top["warning"]) == (True, process["warning"])
    assert top["account"]["throttled_periods"] == account["throttled_periods"]

    said = explained(pods)
    assert (None, f"process {t.pid}: {process['warning']}") in said
    assert "throttled" in requests.get(f"http://127.0.0.1:{collector.http}/list", timeout=20).text


def test_windows_of_other_profilers_have_no_account(collector):
    from collector import usual_batch
    assert collector.push(usual_batch().bytes()).status_code == 200
    process = collector.get("/pods").json()["pods"][0]["containers"][0]["processes"][0]
    assert process["account"]["cpu_ns"] is None and process["account"]["text"] == ""
    assert process["throttled"] is None and process["warning"] is None
    assert "cpu" not in texts(collector.get("/profiles", params={"format": "svg"}).content)
