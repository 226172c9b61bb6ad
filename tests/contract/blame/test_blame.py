"""`podspy record --gil-blame` against programs that hold the GIL for known times."""

import pathlib
import sys

import pytest

import machine
import pythons
import targets

HOGS = pathlib.Path(__file__).with_name("hogs.py")
UNSEEN = "[GIL holder not seen]"
KNOWN = [p for p in pythons.few() if p.minor >= (3, 7) and not p.free_threaded and not p.root]


def record(podspy, pid, *options, seconds=4):
    """{stack: samples} of a recording, the frames of a stack in a tuple."""
    done = targets.run([podspy, "record", "-p", str(pid), "-d", str(seconds), "-r", "250", "-f", "raw", "-o", "-",
                        "--gil-blame", "--nolineno", "--nonblocking", *options], text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.rpartition(" ") for line in done.stdout.splitlines()]
    return {tuple(stack.split(";")): int(count) for stack, _, count in lines}, done.stderr


def samples(stacks, *words):
    return sum(n for stack, n in stacks.items() if all(any(w in frame for frame in stack) for w in words))


@pytest.mark.parametrize("python", KNOWN, ids=repr)
@pytest.mark.parametrize("kind, function", [("c", "hog_in_c"), ("python", "hog_in_python")])
def test_the_hog_has_the_blame(podspy, python, kind, function):
    """Of the waits whose holder was seen, nearly all; the others' short work has the rest."""
    def once():
        with targets.running(python.argv(HOGS, kind)) as target:
            stacks, said = record(podspy, target.pid)
        total, unseen = sum(stacks.values()), samples(stacks, UNSEEN)
        assert total > 0, said
        return {"hog": round(samples(stacks, function) / total, 3), "unseen": round(unseen / total, 3), "waits": total}

    machine.measured("blame of %s" % function, once, lambda f: f["hog"] >= 0.9)


def test_the_blame_of_c_code_is_the_time_it_keeps_the_gil(podspy):
    """The hog keeps the GIL for 80 of 100 ms at least, and two threads wait for it all that time."""
    def once():
        with targets.running([sys.executable, HOGS, "c"]) as target:
            stacks, said = record(podspy, target.pid, "--threads", seconds=5)
        rounds = 5 * 250
        waited = {name: samples(stacks, name, "hog_in_c (hogs.py)") / rounds for name in ("victim-1", "victim-2")}
        assert not samples(stacks, "hog_in_c-0", "hog_in_c (hogs.py)"), stacks  # it does not wait for itself
        return {name: round(share, 3) for name, share in waited.items()}

    machine.measured("waits", once, lambda f: all(0.72 <= share <= 0.88 for share in f.values()))


def test_threads_that_wait_for_a_lock_blame_nobody(podspy):
    with targets.running([sys.executable, HOGS, "rlock"]) as target:
        stacks, said = record(podspy, target.pid)
    assert samples(stacks, "contend") <= 20, stacks  # they take the GIL for an instant at each turn
    if not stacks:
        assert "No samples to show" in said


def test_it_excludes_gil_and_idle(podspy):
    for option in ("--gil", "--idle"):
        done = targets.run([podspy, "record", "--gil-blame", option, "-p", "1"], text=True)
        assert done.returncode == 2 and "--gil-blame" in done.stderr
