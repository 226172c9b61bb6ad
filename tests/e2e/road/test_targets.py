"""Processes of every kind, as GET /pods and the stacks show them."""

import os
import pathlib
import signal
import time

import parts
import pytest

DEMO = pathlib.Path(__file__).resolve().parents[3] / "deploy" / "docker" / "demo"


def of(collector, pid):
    return [p for p in collector.processes() if p.get("pid") == pid]


def problem_of(collector, pid):
    return next((p["problem"] for p in of(collector, pid) if p["problem"]), None)


@pytest.fixture
def collector(tmp_path, podspy_collector):
    with parts.Collector(podspy_collector, tmp_path / "collector") as c:
        yield c


def test_a_non_python_process_in_the_rules_is_listed_with_a_reason(tmp_path, podspy, collector):
    rules = '[{name: shell, cmdline: "^sleep 31415$"}]'
    with parts.Process(["sleep", "31415"], tmp_path / "log") as sleep, \
            parts.Agent(podspy, tmp_path / "agent", collector, rules) as agent:
        why = parts.wait_until(lambda: f"a reason: {collector.processes()} {agent.log[-2000:]}",
                               lambda: problem_of(collector, sleep.pid))
        assert "python" in why.lower()
        assert agent.process.alive()


@pytest.fixture
def cgroup():
    """A separate cgroup: of a zombie, a rule can match nothing else."""
    parents = ("unified", "pids", "systemd", ".")
    parent = next(p for p in (pathlib.Path("/sys/fs/cgroup") / name for name in parents)
                  if (p / "cgroup.procs").exists())
    path = parent / f"podspy-zombies-{os.getpid()}"
    try:
        path.mkdir()
    except OSError as why:
        pytest.skip(f"no cgroup can be made here: {why}")
    yield path
    parts.wait_until("its processes are gone", lambda: not (path / "cgroup.procs").read_text())
    parts.wait_until("the cgroup can be removed", lambda: _removed(path))


def _removed(path):
    try:
        path.rmdir()
    except OSError:
        return False
    return True


FORKS = """
import os, sys, time
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
pid = os.fork()
if pid == 0:
    end = time.time() + float(sys.argv[2])
    while time.time() < end:
        sum(range(1000))
    os._exit(0)
time.sleep(600)
"""


@pytest.mark.parametrize("lives", [0.0, 3.0], ids=["found as a zombie", "dies while sampled"])
def test_a_zombie_that_matches_a_rule_does_no_harm(tmp_path, podspy, collector, cgroup, lives):
    """A child that its parent does not wait for, in a cgroup that a rule matches."""
    rules = f'[{{name: zombie, cgroup: "*{cgroup.name}*"}}]'
    with parts.target(FORKS, tmp_path, "zombie_target", args=[cgroup, str(lives)]) as parent:
        child = parts.wait_until("it forks", lambda: parts.children(parent.pid))[0]
        if not lives:
            parts.wait_until("it is a zombie", lambda: parts.thread_states(child) == "Z")
        with parts.Agent(podspy, tmp_path / "agent", collector, rules) as agent:
            parts.wait_until("it is a zombie", lambda: parts.thread_states(child) == "Z")
            parts.wait_until(lambda: f"the parent is sampled: {agent.log}",
                             lambda: of(collector, parent.pid))
            if not lives:
                parts.wait_until(lambda: f"the zombie is listed: {agent.log}", lambda: of(collector, child))
            time.sleep(2.5)  # whole windows with the zombie there
            assert agent.process.alive()
            assert f'msg="process gone" pid={parent.pid}' not in agent.log
            agent.stop()
            if lives:  # what it did stays; that it ended is noticed though nobody waits for it
                assert f'msg="process gone" pid={child}' in agent.log
                assert of(collector, child)[0]["samples"] > 0
            else:  # listed with the reason, once
                assert len(of(collector, child)) == 1 and "zombie" in problem_of(collector, child)


def test_processes_that_exit_at_any_moment_do_no_harm(tmp_path, podspy, collector):
    """A hundred short lives under a fast sampler: some end in the middle of a read."""
    code = "import time, sys\nend = time.monotonic() + float(sys.argv[1])\n" \
           "while time.monotonic() < end: sum(range(500))\n"
    path = tmp_path / "short_lives.py"
    path.write_text(code)
    rules = '[{name: short, exe: "*python3*", cmdline: "short_lives"}]'
    with parts.Agent(podspy, tmp_path / "agent", collector, rules, rate=1000) as agent:
        for turn in range(25):
            alive = [parts.Process([parts.PYTHON, path, f"{0.1 + 0.013 * (turn % 7) + 0.05 * i}"],
                                   tmp_path / "short.log") for i in range(4)]
            for process in alive:
                assert process.popen.wait(20) == 0
        assert agent.process.alive()
        agent.stop()
    assert collector.samples(pod="short") > 0


def test_corrupt_memory_of_a_target_is_counted(tmp_path, podspy, collector):
    """Its interpreter state is overwritten with random bytes while it is being read."""
    source = """
import ctypes, os, random, threading, time
# Frames whose code objects are scribbled over, in threads that never run again.
lock = threading.Lock(); lock.acquire()
def victim():
    lock.acquire()
threads = [threading.Thread(target=victim, daemon=True) for _ in range(4)]
for t in threads: t.start()
time.sleep(0.3)
print("ready", flush=True)
rng = random.Random(5)
code = victim.__code__
size = code.__sizeof__()
while True:
    at = id(code) + 16 + rng.randrange(0, size - 24) // 8 * 8
    old = ctypes.string_at(at, 8)
    ctypes.memmove(at, rng.randbytes(8), 8)
    time.sleep(0.003)
    ctypes.memmove(at, old, 8)
"""
    rules = '[{name: nonsense, exe: "*python3*", cmdline: "nonsense_target"}]'
    with parts.target(source, tmp_path, "nonsense_target") as target, \
            parts.Agent(podspy, tmp_path / "agent", collector, rules, rate=500) as agent:
        parts.wait_until(lambda: f"samples: {agent.log[-1500:]}",
                         lambda: collector.samples(pod="nonsense") > 500, 30)
        assert agent.process.alive() and target.alive()
        agent.stop()


def test_gunicorn_workers_and_their_replacements_are_found(tmp_path, podspy, collector):
    port = parts.free_port()
    rules = f'[{{name: shop, exe: "*python3*", cmdline: "gunicorn .*--name road-{port}"}}]'
    environment = dict(os.environ, DEMO_BIND=f"127.0.0.1:{port}", PYTHONDONTWRITEBYTECODE="1")
    service = parts.Process(
        ["/usr/bin/gunicorn", "--chdir", DEMO, "--config", DEMO / "gunicorn.conf.py", "--name",
         f"road-{port}", "shop:app"], tmp_path / "service.log", env=environment)
    load = [parts.PYTHON, DEMO / "load.py", "--rate", "50", f"http://127.0.0.1:{port}"]
    with service, parts.Process(load, tmp_path / "load.log"), \
            parts.Agent(podspy, tmp_path / "agent", collector, rules) as agent:
        workers = parts.wait_until("two workers", lambda: len(parts.children(service.pid)) == 2
                                   and parts.children(service.pid))
        _seen_working(collector, agent, workers)
        os.kill(workers[0], signal.SIGKILL)
        replaced = parts.wait_until("a new worker", lambda: len(
            new := set(parts.children(service.pid))) == 2 and workers[0] not in new and new)
        _seen_working(collector, agent, replaced)


def _seen_working(collector, agent, workers):
    """The demo's functions under each of these PIDs, each a child of the same master."""
    for pid in workers:
        stacks = parts.wait_until(
            lambda: f"{pid} at work: {agent.log[-2000:]}",
            lambda: [s for s in collector.stacks(pid=pid) if "edit_distance (" in s], 40, 0.5)
        assert all("handle_search (" in s for s in stacks)
        process = of(collector, pid)[0]
        assert process["pod"] == "shop"
        assert process["python_version"].startswith("3.")
