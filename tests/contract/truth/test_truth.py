"""No stack that the program cannot have, and no share that differs from the paused truth.

stress.py makes every trouble a reader can meet; check.py knows which caller-callee pairs its text
allows. Each interpreter gives $PODSPY_TRUTH_SAMPLES (4000) samples in the default mode, as many
paused always, and a third without a pause. With PODSPY_LONG=1 it is a million over all of them and at least
100000 each, and the target has a core of its own.

A share of the default mode may differ by one point from that of the paused one, and by what chance
explains: where other work takes the CPU from the target it stands in one place for hundreds of
samples. How much that is, the rounds tell by how far they differ among themselves (shares.py), and
where it happens in most rounds they are taken again (machine.measured). An impossible stack is a
failure at once.
"""

import os
import sys

import pytest

import machine
import pythons

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import check  # noqa: E402
import shares  # noqa: E402

SANITIZED = bool(os.environ.get("PODSPY_SANITIZE"))
LONG = bool(os.environ.get("PODSPY_LONG"))
SUPPORTED = pythons.few() if SANITIZED else pythons.supported()
SAMPLES = int(os.environ.get("PODSPY_TRUTH_SAMPLES") or
              (max(1000000 // len(SUPPORTED) + 1, 100000) if LONG else 2000 if SANITIZED else 4000))
FREE_SAMPLES = SAMPLES // (12 if LONG else 6)
ASIDE_SAMPLES = SAMPLES // (4 if LONG else 8)
ROUNDS = 24 if LONG else 8
GAP_US = 300 if LONG else 100  # as fast as it goes would be another target: one that mostly stands still
FREE_GAP_US = 30
each = pytest.mark.parametrize("python", SUPPORTED, ids=pythons.id_of)


def told(found):
    return ["%d x %s: %s" % f for f in found[:10]]


def sampled(python, program, stress, folder, name, samples, gap_us):
    """(what the mode of that name gave, the paused truth of the same moments)"""
    taken, truth = shares.Mode(python), shares.Mode(python)
    with stress(python) as t:
        for _ in range(ROUNDS):
            shares.one_round(program, t.pid, samples // ROUNDS + 1, gap_us, folder,
                             {name: taken, "always": truth})
    return taken, truth


@each
def test_the_default_mode_agrees_with_paused_samples(python, program, stress, outcome, tmp_path):
    def beyond():
        default, truth = sampled(python, program, stress, tmp_path, "may", SAMPLES, GAP_US)
        different = shares.differences(default, truth)
        outcome(python, "default", default, different)
        outcome(python, "always paused", truth)
        assert told(default.faults) == [] and told(truth.faults) == []
        assert default.samples() >= SAMPLES
        return default.quality["failed"] / default.samples(), shares.beyond_chance(different)

    # A sanitizer makes each read take several times as long as the calls that it reads: its shares say nothing.
    machine.measured("failed, shares beyond chance", beyond,
                     lambda f: f[0] <= 0.05 if SANITIZED else f[0] <= 0.01 and f[1] == {})


@pytest.mark.parametrize("python", SUPPORTED if LONG else pythons.few(), ids=pythons.id_of)
def test_stacks_of_a_thread_pushed_aside_are_true(python, program, stress, outcome, tmp_path, request):
    """Samples of a thread that stood still because the sampler had its CPU: not paused, and as true."""
    # In the long run the samplers have a core without the target; here they need the target's.
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count()))
    request.addfinalizer(lambda: os.sched_setaffinity(0, cores))
    def beyond():
        aside, truth = sampled(python, program, stress, tmp_path, "aside", ASIDE_SAMPLES, GAP_US)
        different = shares.differences(aside, truth)
        outcome(python, "pushed aside", aside, different)
        assert told(aside.faults) == []
        assert aside.samples() >= ASIDE_SAMPLES
        return shares.beyond_chance(different)

    # Under a sanitizer the sampler is awake so long that where the target is pushed aside is not by chance.
    machine.measured("shares beyond chance", beyond, lambda found: SANITIZED or found == {})


@each
def test_nonblocking_shows_only_what_is_true(python, program, stress, outcome, tmp_path):
    """What is shown is true; nearly every attempt shows something; and each function's true share lies between what
    is shown of it and what, beyond that, [changing] stands for below a function that may have called it."""
    def outside():
        free, truth = sampled(python, program, stress, tmp_path, "never", FREE_SAMPLES, FREE_GAP_US)
        outcome(python, "nonblocking", free, shares.differences(free, truth))
        assert told(free.faults) == []
        assert free.quality["paused"] == 0
        assert free.samples() == free.quality["clean"] + free.quality["salvaged"] >= FREE_SAMPLES
        return free.quality["failed"] / free.samples(), shares.outside(free, truth)

    machine.measured("failed, shares outside", outside, lambda f: f[0] <= 1 / 9 and f[1] == {})


def test_the_checker_finds_impossible_stacks():
    """The checker must find these impossible stacks, or its silence proves nothing."""
    base = "<module> (x/stress.py:%d);main (x/stress.py:%d);one_round (x/stress.py:%d)"
    line = {}
    for number, text in enumerate(check.STRESS.read_text().splitlines(), 1):
        line.setdefault(text.strip().split("  #")[0], number)
    base = base % (line["main()"], line["one_round()"], line["work()"])
    work = base.replace("one_round (x/stress.py:%d)" % line["work()"],
                        "one_round (x/stress.py:%d);work (x/stress.py:%d)")
    second_work = [n for n, t in enumerate(check.STRESS.read_text().splitlines(), 1)
                   if t.strip().startswith("work()")][1]
    good = work % (second_work, line["construct()"]) + ";construct (x/stress.py:%d) 1" % line["a = C(1)"]
    for qualified in (True, False):
        assert check.faults([good], qualified)[0] == []
        assert check.faults([good.replace("construct (", "generate (")], qualified)[0]
        assert check.faults([good.replace("main (", "leaf (")], qualified)[0]
        assert check.faults([good.replace("<module> (", "numbers (")], qualified)[0]
        assert check.faults([good.replace(":%d);construct" % line["construct()"],
                                          ":%d);construct" % line["drive()"])], qualified)[0]
        assert check.faults(["<module> (<made-3>:1);made_4 (<made-3>:5) 1"], qualified)[0]
        assert check.faults(["<module> (<made-14>:3) 1"], qualified)[0]
    assert check.faults([good.replace(" 1", ";[changing] 1")])[0] == []
    assert check.faults([good.replace("construct (", "generate (").replace(" 1", ";[changing] 1")])[0]
    init = good.replace(" 1", ";%s (x/stress.py:%d) 1" % ("C.__init__", line["self.v = v"]))
    assert check.faults([init])[0] == [] and check.faults([init.replace("C.__", "__")], False)[0] == []
    assert check.faults([init.replace("C.__", "__")])[0]
