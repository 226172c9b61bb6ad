"""No stack that the program cannot have, and no share that differs from the paused truth.

stress.py makes every trouble a reader can meet; check.py knows which caller-callee pairs its text
allows. $PODSPY_TRUTH_SAMPLES (30000) samples are taken of each interpreter in the default mode.
"""

import json
import os
import sys

import pytest

import pythons
import targets

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import check  # noqa: E402

SAMPLES = int(os.environ.get("PODSPY_TRUTH_SAMPLES", "30000"))
WAITING = ("Condition.wait", "[no Python code]", "Thread.start")
SUPPORTED = pythons.supported()
each = pytest.mark.parametrize("python", SUPPORTED, ids=lambda p: p.id)


def take(program, pid, samples, mode, gap_us):
    r = targets.run([program("truth_sampler"), str(pid), str(samples), mode, str(gap_us)], seconds=400)
    assert r.returncode == 0
    found, _, leaves = check.faults(r.stdout.decode().splitlines())
    for name in WAITING:  # how long threads wait for each other depends on the machine's other work
        leaves.pop(name, None)
    total = sum(leaves.values())
    return found, {name: 100 * n / total for name, n in leaves.items()}, json.loads(r.stderr)


def told(found):
    return ["%d x %s: %s" % f for f in found[:10]]


@each
def test_default_mode(python, program):
    with targets.running([python.path, check.STRESS, "600"]) as t:
        found, shares, quality = take(program, t.pid, SAMPLES, "may", 100)
        paused_found, truth, paused_quality = take(program, t.pid, SAMPLES // 2, "always", 150)
    print(python.id, quality, "always paused:", paused_quality)
    for name in sorted(truth, key=truth.get, reverse=True)[:8]:
        print("    %-24s %5.1f %% (truth %5.1f %%)" % (name, shares.get(name, 0), truth[name]))
    assert told(found) == [] and told(paused_found) == []
    assert quality["samples"] >= SAMPLES
    assert quality["clean"] + quality["paused"] == quality["samples"]
    assert quality["failed"] <= quality["samples"] / 100
    # Two samplings minutes apart on a machine with other work: 4 points.
    for name in truth:
        assert abs(shares.get(name, 0) - truth[name]) < 4, name


@each
def test_nonblocking(python, program):
    """Here many reads fail, which is counted; what is shown is true all the same."""
    with targets.running([python.path, check.STRESS, "600"]) as t:
        found, _, quality = take(program, t.pid, SAMPLES // 6, "never", 100)
    print(python.id, quality)
    assert told(found) == []
    assert quality["paused"] == 0 and quality["failed"] > 0


def test_the_checker_finds_what_is_wrong():
    """A checker that finds nothing proves nothing: here is what it must find."""
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
    assert check.faults([good])[0] == []
    assert check.faults([good.replace("construct (", "generate (")])[0]
    assert check.faults([good.replace("main (", "leaf (")])[0]
    assert check.faults([good.replace("<module> (", "numbers (")])[0]
    assert check.faults(["<module> (<made-3>:1);made_4 (<made-3>:5) 1"])[0]
    assert check.faults(["<module> (<made-14>:3) 1"])[0]
