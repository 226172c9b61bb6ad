"""Every window arrives once, whatever happens to the collector meanwhile."""

import re
import shutil
import time

import machine
import parts
import pytest

RULES = '[{name: busy, exe: "*python3*", cmdline: "busy_target"}]'
BUSY = """
import time

def spin(end):
    while time.monotonic() < end:
        sum(range(500))

while True:
    spin(time.monotonic() + 0.02)
    time.sleep(0.01)
"""


@pytest.fixture
def busy(tmp_path):
    with parts.target(BUSY, tmp_path, "busy_target") as process:
        yield process


def taken(agent):
    """How many thread-samples the agent itself counted in its life, from its last log line."""
    return int(re.search(r'msg="podspy agent ended".* samples=(\d+)', agent.log)[1])


def all_arrived(collector, agent):
    parts.wait_until(lambda: f"{collector.samples()} of {taken(agent)} samples arrived",
                     lambda: collector.samples() == taken(agent))


def windows_in_spool(agent, n):
    parts.wait_until(lambda: f"{n} windows in the spool: {agent.log[-2000:]}",
                     lambda: len(agent.spooled()) >= n)


def test_windows_wait_for_a_collector_and_arrive_once(tmp_path, podspy, podspy_collector,
                                                             busy):
    collector = parts.Collector(podspy_collector, tmp_path / "collector")
    with collector:  # so that its authority and token exist; away before the agent comes
        pass
    agent = parts.Agent(podspy, tmp_path / "agent", collector, RULES)
    with agent:
        windows_in_spool(agent, 3)
        again = tmp_path / "again"
        again.mkdir()
        kept = [shutil.copy(path, again) for path in agent.spooled()]
        assert agent.process.alive()
        with collector:
            parts.wait_until("the spool is empty", lambda: not agent.spooled(), 75)
            agent.stop()
            all_arrived(collector, agent)
            stored = collector.samples()
            # The same windows once more, as after an acknowledgement that got lost.
            for path in kept:
                shutil.copy(path, agent.spool)
            agent.start()
            parts.wait_until("the spool is empty again", lambda: not agent.spooled())
            busy.kill()
            agent.stop()
            assert collector.samples() == stored + taken_since(agent)


def taken_since(agent):
    return int(re.findall(r'msg="podspy agent ended".* samples=(\d+)', agent.log)[-1])


def test_a_wrong_token_keeps_the_spool_until_it_is_right(tmp_path, podspy, podspy_collector, busy):
    token = tmp_path / "token"
    token.write_text("wrong")
    with parts.Collector(podspy_collector, tmp_path / "collector") as collector, \
            parts.Agent(podspy, tmp_path / "agent", collector, RULES, token_file=token) as agent:
        windows_in_spool(agent, 4)
        complaints = [line for line in agent.log.splitlines() if "401" in line]
        assert len(complaints) == 1, agent.log  # one a minute
        assert "token" in complaints[0]
        assert collector.samples() == 0
        token.write_text(collector.token("ingest"))
        # A restart is not needed: the file is read again when it changes.
        parts.wait_until(lambda: "the spool is empty: " + agent.log[-2000:],
                         lambda: not agent.spooled(), 75)
        agent.stop()
        all_arrived(collector, agent)


def test_killing_the_collector_loses_and_duplicates_nothing(tmp_path, podspy,
                                                                     podspy_collector, busy):
    with parts.Collector(podspy_collector, tmp_path / "collector") as collector, \
            parts.Agent(podspy, tmp_path / "agent", collector, RULES) as agent:
        for pause in (1.3, 0.7, 1.9):
            time.sleep(pause)
            collector.process.kill()
            time.sleep(0.4)
            collector.start()
        parts.wait_until(lambda: "the spool is empty: " + agent.log[-2000:],
                         lambda: not agent.spooled(), 75)
        agent.stop()
        all_arrived(collector, agent)


def test_a_killed_agents_spool_is_sent_by_the_next(tmp_path, podspy,
                                                                     podspy_collector, busy):
    collector = parts.Collector(podspy_collector, tmp_path / "collector")
    with collector:
        pass
    agent = parts.Agent(podspy, tmp_path / "agent", collector, RULES)
    with agent:
        windows_in_spool(agent, 2)
        agent.process.kill()
    left = len(agent.spooled())
    assert left >= 2
    busy.kill()  # the second agent only delivers
    with collector, agent:
        parts.wait_until(lambda: "the spool is empty: " + agent.log[-2000:],
                         lambda: not agent.spooled(), 75)
        assert collector.samples() > 0
        stored = sum(p["windows"] for p in collector.processes())
        # Without that right, it tells that it cannot see some processes, in a window too.
        assert stored == left + (1 if machine.why_no_foreign_reads() else 0)
