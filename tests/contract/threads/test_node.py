"""An agent on a node of more threads than it may have files open: all processes arrive, those that work are seen
to work, those that wait are not, and what is left out is counted. With PODSPY_LONG=1 also 20,000 threads under
the usual soft limit of 1024 and a hard one of 4096."""

import contextlib
import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request

import pytest

import targets

HERE = os.path.dirname(os.path.abspath(__file__))
LONG = bool(os.environ.get("PODSPY_LONG"))
# processes, threads of each, soft limit, hard limit
NODES = [(8, 150, 128, 256)] + [(40, 500, 1024, 4096)] * LONG
CONFIG = """\
collector: {{url: "https://127.0.0.1:{https}", ca_file: "{data}/ca.pem", token_file: "{data}/ingest.token"}}
discovery: {{kubernetes: off, docker: off, processes: [{{name: node, cmdline: "{mark}"}}]}}
push: {{interval: 2s, spool_dir: "{spool}"}}
"""


def threads_free():
    most = [int(open("/proc/sys/kernel/" + name).read()) for name in ("threads-max", "pid_max")]
    used = int(open("/proc/loadavg").read().split()[3].partition("/")[2])
    return min(most) - used


@pytest.fixture
def collector(podspy_collector, tmp_path):
    """A running collector: (its data folder, its ports)."""
    data = tmp_path / "data"
    argv = [podspy_collector, "--listen", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--data", data]
    with targets.running(argv, wait_line=False, stderr=subprocess.DEVNULL):
        targets.wait_for(lambda: (data / "ports.json").exists() and (data / "ports.json").read_text(), 20)
        yield data, json.loads((data / "ports.json").read_text())


def get(ports, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{ports['http']}{path}", timeout=30) as answer:
        return answer.read().decode()


def start(stack, folder, processes, threads):
    """So many processes; every fourth has two threads that work."""
    mark = f"podspy-node-{os.getpid()}.py"
    (folder / mark).write_text(open(f"{HERE}/waiting.py").read())
    started = {}
    for i in range(processes):
        works = i % 4 == 0
        argv = ["/usr/bin/python3", "-S", str(folder / mark), str(threads - 1 - 2 * works), str(int(works))]
        started[stack.enter_context(targets.running(argv)).pid] = works
    return mark, started


def processes_in(pods):
    return [p for pod in pods["pods"] for c in pod["containers"] for p in c["processes"]]


def arrived(ports, started, threads):
    """{pid: process} once all have come with at least two samples of each thread; else None."""
    try:
        found = {p["pid"]: p for p in processes_in(json.loads(get(ports, "/pods?pod=node")))}
    except urllib.error.HTTPError as e:
        assert e.code == 404
        return None
    return found if all(pid in found and found[pid]["samples"] > 2 * threads for pid in started) else None


def samples_of(ports, pid, idle):
    """(samples, the text) of a process; nothing where none is such."""
    try:
        text = get(ports, f"/profiles?pid={pid}&format=collapsed&lines=0&idle={idle}")
    except urllib.error.HTTPError as e:
        assert e.code == 404
        return 0, ""
    return sum(int(line.rpartition(" ")[2]) for line in text.splitlines()), text


@contextlib.contextmanager
def agent(podspy, config, log, **kwargs):
    with open(log, "wb") as to, targets.running([podspy, "agent", "--config", config], wait_line=False,
                                                stderr=to, **kwargs) as t:
        yield t
        t.process.terminate()
        t.process.wait(60)


@pytest.mark.parametrize("processes,threads,soft,hard", NODES)
def test_samples_of_a_node_with_many_threads_arrive(podspy, collector, tmp_path, limited, processes, threads, soft,
                                                   hard):
    if threads_free() < processes * threads + 2000:
        pytest.skip("the machine has too few threads left")
    data, ports = collector
    log = tmp_path / "agent.log"
    with contextlib.ExitStack() as stack:
        mark, started = start(stack, tmp_path, processes, threads)
        config = tmp_path / "agent.yaml"
        config.write_text(CONFIG.format(https=ports["https"], data=data, mark=mark, spool=tmp_path / "spool"))
        begun = time.monotonic()
        with agent(podspy, config, log, preexec_fn=limited(soft, hard)) as a:
            targets.wait_for(lambda: arrived(ports, started, threads), 240)
            n_open = len(os.listdir(f"/proc/{a.pid}/fd"))
        found = arrived(ports, started, threads)
        print(f"{processes} processes of {threads} threads, at most {hard} files of which {n_open} were open, "
              f"{time.monotonic() - begun:.0f} s:")
        said = log.read_text()
        print(said.splitlines()[-1])
        # Without CAP_SYS_PTRACE it says at its start that it cannot see some processes.
        errors = re.findall(r'level=error msg="(?!some processes cannot be profiled)', said)
        assert not errors, said
        quality = {k: sum(p["quality"][k] for p in found.values())
                   for k in ("clean", "paused", "failed", "lost", "late")}
        n_threads = sum(len(p["threads"]) for p in found.values())
        print(f"arrived: {len(found)} processes, {n_threads} of {processes * threads} threads; {quality}")
        assert n_open < hard - 64
        assert n_threads >= 0.95 * processes * threads
        working = 0
        for pid, works in started.items():
            assert found[pid]["problem"] is None
            samples, _ = samples_of(ports, pid, 1)
            running, shown = samples_of(ports, pid, 0)
            assert running < samples / 50, (pid, running, samples)  # two of 150 at most
            assert works or running <= samples / 1000, (pid, running, samples)
            working += "work_and_rest" in shown
        assert working
