"""A known workload arrives unchanged through sampler, spool, TLS, store and query."""

import xml.etree.ElementTree

import parts
import pytest
import requests

# Turns of random length, 70 % of each in one function and 30 % in the other, by its own CPU clock. A sample
# counts a thread that is ready to run too, so where the machine is busy the truth is what the wall clock says:
# the target adds it up.
SEVENTY_THIRTY = """
import os, random, sys, time

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
    spent = [0.0, 0.0]
    out = os.open(__file__ + ".spent", os.O_WRONLY | os.O_CREAT)
    while True:
        turn = rng.uniform(0.005, 0.04)
        times = [time.perf_counter()]
        seventy(0.7 * turn)
        times.append(time.perf_counter())
        thirty(0.3 * turn)
        times.append(time.perf_counter())
        spent = [spent[i] + times[i + 1] - times[i] for i in range(2)]
        os.pwrite(out, b"%20.6f %20.6f" % tuple(spent), 0)

work()
"""
RULES = '[{name: known, exe: "*python3*", cmdline: "known_workload"}]'


@pytest.fixture(scope="module")
def road(tmp_path_factory, podspy, podspy_collector):
    """The collector, after the agent has watched the workload for some thousand samples."""
    folder = tmp_path_factory.mktemp("workload")
    with parts.Collector(podspy_collector, folder / "collector") as collector, \
            parts.target(SEVENTY_THIRTY, folder, "known_workload"), \
            parts.Agent(podspy, folder / "agent", collector, RULES, rate=1000) as agent:
        parts.wait_until(lambda: f"8000 samples: {agent.log[-2000:]}",
                         lambda: sum(collector.stacks(pod="known").values()) >= 8000, 90, 0.5)
        agent.stop()
        collector.truth = [float(n) for n in (folder / "known_workload.py.spent").read_text().split()]
        yield collector


def _share(stacks, function):
    total = sum(stacks.values())
    return 100 * sum(n for stack, n in stacks.items() if f"{function} (" in stack) / total


def test_a_70_30_workload_is_measured_within_2_points(road):
    stacks = road.stacks(pod="known")
    seventy, thirty = (100 * n / sum(road.truth) for n in road.truth)
    print(f"seventy {_share(stacks, 'seventy'):.1f} %, really {seventy:.1f} %; "
          f"thirty {_share(stacks, 'thirty'):.1f} %, really {thirty:.1f} %")
    assert seventy == pytest.approx(70, abs=5)
    assert _share(stacks, "seventy") == pytest.approx(seventy, abs=2)
    assert _share(stacks, "thirty") == pytest.approx(thirty, abs=2)


def test_every_stack_of_both_functions_is_whole(road):
    """The stack goes from the module to the function, with nothing in between, each in the right file."""
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


def test_speedscope_agrees(road):
    document = road.profile(pod="known", format="speedscope").json()
    names = [f["name"] for f in document["shared"]["frames"]]
    seconds = {"seventy": 0.0, "thirty": 0.0}
    for profile in document["profiles"]:
        for stack, weight in zip(profile["samples"], profile["weights"]):
            leaf = names[stack[-1]]
            seconds[leaf] = seconds.get(leaf, 0) + weight
    share = 100 * seconds["seventy"] / sum(seconds.values())
    assert share == pytest.approx(_share(road.stacks(pod="known"), "seventy"), abs=0.5)


def test_queries_without_a_token_are_refused(road):
    answer = requests.get(road.url + "/profiles", verify=str(road.ca), timeout=10)
    assert answer.status_code == 401
    assert answer.json()["error"]["message"]
