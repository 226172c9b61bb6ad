"""No stack that the program cannot have, and no share that differs from the paused truth.

stress.py makes every trouble a reader can meet; check.py knows which caller-callee pairs its text
allows. Each interpreter gives $PODSPY_TRUTH_SAMPLES (10000) samples in the default mode, half as many
paused always, and a third without a pause. PODSPY_LONG=1 divides a million over all of them.

A share of the default mode may differ by one point from that of the paused one, and by what chance
explains: where other work takes the CPU from the target it stands in one place for hundreds of
samples. How much that is, the rounds tell by how far they differ among themselves.
"""

import json
import os
import statistics
import sys

import pytest

import pythons
import targets

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import check  # noqa: E402

SANITIZED = bool(os.environ.get("PODSPY_SANITIZE"))
LONG = bool(os.environ.get("PODSPY_LONG"))
SUPPORTED = pythons.few() if SANITIZED else pythons.supported()
SAMPLES = int(os.environ.get("PODSPY_TRUTH_SAMPLES") or
              (1000000 // len(SUPPORTED) + 1 if LONG else 2000 if SANITIZED else 10000))
ROUNDS = 8  # modes take turns, so that what else the machine does meets both
POINTS = 1  # that a share may be off, besides what it scatters from round to round
WAITING = ("wait", "[no Python code]", "start", "join")
each = pytest.mark.parametrize("python", SUPPORTED, ids=pythons.id_of)


@pytest.fixture
def stress(tmp_path):
    """stress(python): a running stress target."""
    def start(python):
        script = check.STRESS
        if python.minor < (3, 5):
            script = tmp_path / "stress.py"
            script.write_text(check.text_for(python.minor))
        return targets.running(python.argv(script, "3000"))

    return start


class Taken:
    """What the samples of one mode came to."""

    def __init__(self, python):
        self.python, self.faults, self.leaves, self.rounds = python, [], {}, []
        self.quality = dict.fromkeys(("samples", "clean", "paused", "failed"), 0)

    def add(self, program, pid, samples, mode, gap_us):
        r = targets.run([program("truth_sampler"), str(pid), str(samples), mode, str(gap_us)], seconds=900)
        assert r.returncode == 0
        found, _, leaves = check.faults(r.stdout.decode().splitlines(), self.python.minor >= (3, 11))
        self.faults += found
        self.rounds.append(running_shares(leaves))
        for name, n in leaves.items():
            self.leaves[name] = self.leaves.get(name, 0) + n
        for name in self.quality:
            self.quality[name] += json.loads(r.stderr)[name]

    def shares(self):
        return running_shares(self.leaves)

    def scatter(self, name):
        """The standard error of a share, from how far the rounds differ."""
        each_round = [shares.get(name, 0) for shares in self.rounds]
        return statistics.stdev(each_round) / len(each_round) ** 0.5 if len(each_round) > 1 else 100

    def __str__(self):
        return ", ".join("%d %s" % (n, name) for name, n in self.quality.items())


def running_shares(leaves):
    """Per cent by leaf; how long threads wait for each other depends on the machine's other work."""
    running = {k: n for k, n in leaves.items() if check.last(k) not in WAITING}
    return {k: 100 * n / max(sum(running.values()), 1) for k, n in running.items()}


def bias(taken, truth):
    """(points, name) of the share that is furthest from the truth."""
    shares, true = taken.shares(), truth.shares()
    return max((abs(shares.get(name, 0) - true[name]), name) for name in true)


def beyond_chance(taken, truth):
    """[(name, points, points that chance explains)] of the shares that are too far off."""
    shares, true, wrong = taken.shares(), truth.shares(), []
    for name in true:
        off = abs(shares.get(name, 0) - true[name])
        chance = 4 * (taken.scatter(name) ** 2 + truth.scatter(name) ** 2) ** 0.5
        if off > POINTS + chance:
            wrong.append((name, off, chance))
    return wrong


def told(found):
    return ["%d x %s: %s" % f for f in found[:10]]


@each
def test_default_mode_and_always_paused(python, program, stress, outcome):
    default, truth = Taken(python), Taken(python)
    with stress(python) as t:
        for _ in range(ROUNDS):
            default.add(program, t.pid, SAMPLES // ROUNDS + 1, "may", 100)
            truth.add(program, t.pid, SAMPLES // ROUNDS // 2 + 1, "always", 100)
    off, name = bias(default, truth)
    scatter = (default.scatter(name) ** 2 + truth.scatter(name) ** 2) ** 0.5
    outcome(python, "default", default, "share furthest off: %s by %.2f points, +- %.2f" % (name, off, scatter))
    outcome(python, "always paused", truth, "")
    assert told(default.faults) == [] and told(truth.faults) == []
    q = default.quality
    assert q["samples"] >= SAMPLES and q["clean"] + q["paused"] == q["samples"]
    assert q["failed"] <= q["samples"] / 100
    assert beyond_chance(default, truth) == []


@each
def test_nonblocking(python, program, stress, outcome):
    """Here reads may fail, which is counted; what is shown is true all the same."""
    free, truth = Taken(python), Taken(python)
    with stress(python) as t:
        free.add(program, t.pid, SAMPLES // 3, "never", 60)
        truth.add(program, t.pid, SAMPLES // 6, "always", 100)
    outcome(python, "nonblocking", free, "bias %.1f points (%s)" % bias(free, truth))
    assert told(free.faults) == []
    # How many fail is chance: with a core of its own a target of 3.13 may lose none.
    assert free.quality["paused"] == 0 and free.quality["samples"] == free.quality["clean"]


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
    for qualified in (True, False):
        assert check.faults([good], qualified)[0] == []
        assert check.faults([good.replace("construct (", "generate (")], qualified)[0]
        assert check.faults([good.replace("main (", "leaf (")], qualified)[0]
        assert check.faults([good.replace("<module> (", "numbers (")], qualified)[0]
        assert check.faults([good.replace(":%d);construct" % line["construct()"],
                                          ":%d);construct" % line["drive()"])], qualified)[0]
        assert check.faults(["<module> (<made-3>:1);made_4 (<made-3>:5) 1"], qualified)[0]
        assert check.faults(["<module> (<made-14>:3) 1"], qualified)[0]
    init = good.replace(" 1", ";%s (x/stress.py:%d) 1" % ("C.__init__", line["self.v = v"]))
    assert check.faults([init])[0] == [] and check.faults([init.replace("C.__", "__")], False)[0] == []
    assert check.faults([init.replace("C.__", "__")])[0]
