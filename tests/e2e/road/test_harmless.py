"""No target stays stopped, however the agent ends."""

import random
import signal
import time

import parts
import pytest

THREADS = """
import threading, time

def spin():
    while True:
        sum(range(2000))
        time.sleep(0)

for _ in range(6):
    threading.Thread(target=spin, daemon=True).start()
while True:
    print(time.monotonic(), flush=True)
    time.sleep(0.02)
"""
RULES = '[{name: threads, exe: "*python3*", cmdline: "threads_target"}]'
ENDS = 8  # of each kind: at a random moment each


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("harmless")
    with parts.target(THREADS, folder, "threads_target") as process:
        yield process


def _still_goes(process):
    """No thread is stopped or traced, and the process continues."""
    states = parts.thread_states(process.pid)
    assert states and not set(states) & set("Tt"), states
    before = process.log_path.stat().st_size
    parts.wait_until("the target goes on", lambda: process.log_path.stat().st_size > before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_target_is_left_stopped(tmp_path, podspy, podspy_collector, targets, number):
    """With the pause for every sample, a thousand times a second: the worst settings there are."""
    rng = random.Random(int(number))
    with parts.Collector(podspy_collector, tmp_path / "collector") as collector:
        for turn in range(ENDS):
            agent = parts.Agent(podspy, tmp_path / f"agent{turn}", collector, RULES, rate=1000,
                                blocking="always", budget=100)
            with agent:
                parts.wait_until(lambda: "it samples: " + agent.log, lambda: "opted in" in agent.log)
                time.sleep(rng.uniform(0.2, 0.6))
                agent.process.kill(number)
            _still_goes(targets)
