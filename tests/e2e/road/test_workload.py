"""What the agent counted is what comes back: a known workload through sampler, spool, TLS, store and
query."""

import xml.etree.ElementTree

import parts
import pytest
import requests

# Turns of random length, 70 % of each in one function and 30 % in the other, by its own CPU clock.
SEVENTY_THIRTY = """
import random, threading, time

def seventy(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

def thirty(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

def work():
    rng = random.Random(1)
    while True:
        turn = rng.uniform(0.005, 0.04)
        seventy(0.7 * turn)
        thirty(0.3 * turn)

work()
"""
RULES = '[{name: known, exe: "*python3*", cmdline: "known_workload"}]'


@pytest.fixture(scope="module")
def road(tmp_path_factory, podspy, podspy_collector):
    """The collector, after the agent has watched the workload for some thousand samples."""
    folder = tmp_path_factory.mktemp("workload")
    with parts.Collector(podspy_collector, folder / "collector") as collector, \
            parts.target(SEVENTY_THIRTY, folder, "known_workload"), \
            parts.Agent(podspy, folder / "agent", collector, RULES, rate=500) as agent:
        parts.wait_until(lambda: f"4000 samples: {agent.log[-2000:]}",
                         lambda: sum(collector.stacks(pod="known").values()) >= 4000, 60, 0.5)
        agent.stop()
        yield collector


def _share(stacks, function):
    total = sum(stacks.values())
    return 100 * sum(n for stack, n in stacks.items() if f"{function} (" in stack) / total


def test_a_70_30_workload_comes_out_within_2_points(road):
    stacks = road.stacks(pod="known")
    assert _share(stacks, "seventy") == pytest.approx(70, abs=2)
    assert _share(stacks, "thirty") == pytest.approx(30, abs=2)


def test_every_stack_of_the_two_is_whole(road):
    """From the module down to the function, nothing between, each in the right file."""
    leaves = [stack for stack in road.stacks(pod="known", lines=0)
              if "seventy (" in stack or "thirty (" in stack]
    assert len(leaves) == 2
    for stack in leaves:
        frames = stack.split(";")
        assert [f.split(" (")[0] for f in frames[:-1]] == ["<module>", "work"], stack
        assert all("known_workload.py" in f for f in frames), stack


def test_the_svg_is_xml_and_shows_both_functions(road):
    answer = road.profile(pod="known", format="svg")
    assert answer.headers["Content-Type"].startswith("image/svg+xml")
    root = xml.etree.ElementTree.fromstring(answer.content)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    text = answer.text
    assert "seventy" in text and "thirty" in text


def test_speedscope_says_the_same(road):
    document = road.profile(pod="known", format="speedscope").json()
    names = [f["name"] for f in document["shared"]["frames"]]
    seconds = {"seventy": 0.0, "thirty": 0.0}
    for profile in document["profiles"]:
        for stack, weight in zip(profile["samples"], profile["weights"]):
            leaf = names[stack[-1]]
            seconds[leaf] = seconds.get(leaf, 0) + weight
    assert 100 * seconds["seventy"] / sum(seconds.values()) == pytest.approx(70, abs=2)


def test_queries_without_a_token_are_refused(road):
    answer = requests.get(road.url + "/profiles", verify=str(road.ca), timeout=10)
    assert answer.status_code == 401
    assert answer.json()["error"]["message"]
