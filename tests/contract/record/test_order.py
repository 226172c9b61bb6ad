"""speedscope's Time Order is the order in which things happened."""

import json
import os
import re

import pytest

import machine
import pythons
import targets

SUPPORTED = pythons.three()
if os.environ.get("PODSPY_SANITIZE"):
    SUPPORTED = SUPPORTED[:1] + SUPPORTED[-1:]
each = pytest.mark.parametrize("python", SUPPORTED, ids=pythons.id_of)
# A phase lasts so much CPU time: on a busy machine that is longer, and it has samples all the same.
SCRIPT = """
import os, sys, threading, time
clock = getattr(time, "thread_time", lambda: sum(os.times()[:2]))
def burn(s):
    end = clock() + s
    while clock() < end: pass
def phase_a(s): burn(s)
def phase_b(s): burn(s)
def nap(s): time.sleep(s)
def main():
    phase_a(0.5); phase_b(0.4); nap(0.5); phase_a(0.3); nap(0.3); phase_a(0.3); phase_b(0.3)
def other():
    nap(0.4); phase_b(0.4); nap(60)
if "threads" in sys.argv:
    t = threading.Thread(target=other)
    t.daemon = True
    t.start()
main()
"""


def record(podspy, python, tmp_path, *flags, args=()):
    script = tmp_path / "order.py"
    script.write_text(SCRIPT)
    r = targets.run([podspy, "record", "-f", "speedscope", "-o", "-", *flags, "--", python.path, script, *args])
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)


def story(scope, profile):
    """[[name, seconds], ...] of the phases as Time Order shows them; equal neighbours are one."""
    names = [f["name"] for f in scope["shared"]["frames"]]
    told = []
    for stack, weight in zip(profile["samples"], profile["weights"]):
        found = re.search(r"\b(phase_a|phase_b|nap)\b", " ".join(names[i] for i in stack))
        if found and (not told or told[-1][0] != found[1]):
            told.append([found[1], 0])
        if found:
            told[-1][1] += weight
    return told


def main_thread(scope):
    return next(p for p in scope["profiles"] if '"MainThread"' in p["name"])


MAIN, OTHER = ["phase_a", "phase_b", "nap", "phase_a", "nap", "phase_a", "phase_b"], ["nap", "phase_b", "nap"]


def assert_in_order(told, all_phases):
    """A busy machine may let a phase of tenths of a second pass without a sample; none may be in another's place."""
    left = iter(all_phases)
    assert all(name in left for name, _ in told), told
    assert all(seconds > 0 for _, seconds in told), told


@each
def test_samples_keep_their_order(python, podspy, tmp_path):
    def phases():
        scope = record(podspy, python, tmp_path, "-i")
        told = story(scope, main_thread(scope))
        assert_in_order(told, MAIN)
        assert "merged" not in scope["name"] + main_thread(scope)["name"]
        return [name for name, _ in told]

    machine.measured("phases", phases, lambda names: names == MAIN)


@each
def test_idle_gaps_collapse(python, podspy, tmp_path):
    want = ["phase_a", "phase_b", "phase_a", "phase_b"]

    def phases():
        scope = record(podspy, python, tmp_path, "--nolineno")
        joined = []
        for name, seconds in story(scope, main_thread(scope)):
            if name == "nap":  # caught on its way into the sleep
                continue
            if joined and joined[-1][0] == name:
                joined[-1][1] += seconds
            else:
                joined.append([name, seconds])
        assert_in_order(joined, want)
        return [name for name, _ in joined]

    machine.measured("phases", phases, lambda names: names == want)


def test_each_thread_has_its_own_order(podspy, tmp_path):
    """One rests for long, which the sampler looks at less often, and then counts at once."""
    def phases():
        scope = record(podspy, SUPPORTED[-1], tmp_path, "-i", args=["threads"])
        main = main_thread(scope)
        told = story(scope, main), story(scope, next(p for p in scope["profiles"] if p is not main))
        assert_in_order(told[0], MAIN)
        assert_in_order(told[1], OTHER)
        return [[name for name, _ in t] for t in told]

    machine.measured("phases", phases, lambda names: names[0][:3] == MAIN[:3] and names[1] == OTHER)


def test_the_weights_add_up_to_all_samples(podspy, tmp_path):
    """The same recording in numbers: what is shown in order is as much as what was counted."""
    script = tmp_path / "order.py"
    script.write_text(SCRIPT)
    def seconds_a_sample():
        r = targets.run([podspy, "record", "-i", "-f", "speedscope", "-r", "200", "-o", "-", "--", SUPPORTED[-1].path, script])
        samples = int(re.search(rb"Samples: (\d+)", r.stderr)[1])
        scope = json.loads(r.stdout)
        total = sum(sum(p["weights"]) for p in scope["profiles"])
        assert all(abs(sum(p["weights"]) - p["endValue"]) < 1e-6 for p in scope["profiles"])
        return total / samples

    # Each stands for the time between two rounds: 5 ms, or more where rounds came too late and were skipped.
    machine.measured("seconds a sample", seconds_a_sample, lambda s: 0.0045 < s < 0.01)


def test_a_script_for_py_spys_files_can_read_them(podspy, tmp_path):
    """An entry for each sample, and every key of every frame: what its integration test needs."""
    scope = record(podspy, SUPPORTED[0], tmp_path, "-d", "1", "-t", "-i", "-r", "50")
    assert all(set(f) == {"name", "file", "line", "col"} for f in scope["shared"]["frames"])
    for p in scope["profiles"]:
        assert len(set(p["weights"])) == 1 and len(p["weights"]) > 20
