"""Blame on the whole road, agent to collector: its total is the time that was spent waiting for the GIL."""

import pathlib

import parts

HOGS = pathlib.Path(__file__).resolve().parents[2] / "contract" / "blame" / "hogs.py"


def test_the_total_is_the_time_spent_waiting(tmp_path, podspy, podspy_collector):
    with parts.Collector(podspy_collector, tmp_path / "collector") as c, \
            parts.Process([parts.PYTHON, HOGS, "python"], tmp_path / "hogs.log") as hogs:
        rules = f'[{{name: hogs, cmdline: "{HOGS.name} python$", rate: 100}}]'
        with parts.Agent(podspy, tmp_path / "agent", c, rules) as agent:
            parts.wait_until(lambda: agent.log[-2000:],
                             lambda: c.samples(pod="hogs", view="gil-blame") > 500, 120)
            agent.stop()  # all of its windows are sent
        steps = c.get("/timeline", pod="hogs", **{"from": "-10m", "idle": 1, "step": "10m"}).json()["steps"]
        waits, stacks = sum(s["gil"]["waits"] for s in steps), c.stacks(pod="hogs", view="gil-blame")
        assert waits and waits == sum(stacks.values()), (waits, stacks)
        hog = sum(n for stack, n in stacks.items() if "hog_in_python" in stack)
        assert hog >= 0.5 * waits, stacks  # a share is asserted in contract/blame
        [process] = [p for p in c.processes(pod="hogs") if not p.get("sample_type")]
        assert process["pid"] == hogs.pid
