"""What the samples of one sampler came to, and how far its shares of leaf functions are from the truth.

Shares are compared in rounds. podspy's modes take their samples in the same moments (sampler.c), so
what counts is how far the difference of two modes scatters from round to round: its standard error is
all that chance has in it, however the target and the machine behave over time. A peer and the truth take
turns instead, and their scatters add up.
"""
import json
import statistics

import check
import targets

POINTS = 1  # that a share may be off
PART_POINTS = 3  # that a function's share may be outside of what is shown and what is hidden of it
WAITING = ("wait", "[no Python code]", "start", "join", "_wait_for_tstate_lock")


def running_shares(leaves):
    """Per cent by leaf; how long threads wait for each other depends on the machine's other work."""
    running = {k: n for k, n in leaves.items() if check.last(k) not in WAITING}
    return {k: 100 * n / max(sum(running.values()), 1) for k, n in running.items()}


def by_last(leaves):
    """By the last part of the names: some peers print no more."""
    merged = {}
    for name, n in leaves.items():
        merged[check.last(name)] = merged.get(check.last(name), 0) + n
    return merged


class Taken:
    """The rounds of one sampler on one target."""

    def __init__(self):
        self.faults, self.rounds = [], []  # rounds: {leaf: samples} each
        self.within = []  # the same of check.within

    def add(self, found, leaves):
        self.faults += found
        self.rounds.append(leaves)

    def leaves(self):
        total = {}
        for leaves in self.rounds:
            for name, n in leaves.items():
                total[name] = total.get(name, 0) + n
        return total

    def impossible(self):
        return sum(count for count, _, _ in self.faults)

    def last_parts(self):
        merged = Taken()
        merged.rounds = [by_last(leaves) for leaves in self.rounds]
        return merged


class Mode(Taken):
    """Those of a mode of podspy."""

    def __init__(self, python):
        super().__init__()
        self.python, self.quality = python, dict.fromkeys(("clean", "salvaged", "paused", "failed"), 0)

    def samples(self):
        return sum(self.quality.values()) - self.quality["failed"]

    def __str__(self):
        return "%d samples: %s" % (self.samples(),
                                   ", ".join("%d %s" % (n, name) for name, n in self.quality.items()))


def one_round(program, pid, samples, gap_us, folder, modes):
    """Adds a round to each of modes, {mode: Mode}, all taken in the same moments."""
    files = {mode: folder / mode for mode in modes}
    r = targets.run([program("truth_sampler"), str(pid), str(samples), str(gap_us),
                     *("%s=%s" % f for f in files.items())], seconds=900)
    assert r.returncode == 0, r.stderr
    for line in r.stdout.splitlines():
        told = json.loads(line)
        mode = modes[told.pop("mode")]
        for name, n in told.items():
            mode.quality[name] += n
    for name, mode in modes.items():
        found, _, leaves = check.faults(files[name].read_text().splitlines(), mode.python.minor >= (3, 11))
        mode.add(found, leaves)
        mode.within.append(check.within(files[name].read_text().splitlines()))


def error(values):
    """The standard error of their mean; without a second value anything is possible."""
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 100


def differences(taken, truth, paired=True):
    """{leaf: (points off, standard error)}. paired: their rounds were taken in the same moments."""
    shares, true = running_shares(taken.leaves()), running_shares(truth.leaves())
    rounds = [[running_shares(leaves) for leaves in t.rounds] for t in (taken, truth)]
    result = {}
    for name in {**shares, **true}:
        each = [[r.get(name, 0) for r in side] for side in rounds]
        if paired:
            scatter = error([a - b for a, b in zip(*each)])
        else:
            scatter = (error(each[0]) ** 2 + error(each[1]) ** 2) ** 0.5
        result[name] = abs(shares.get(name, 0) - true.get(name, 0)), scatter
    return result


def furthest(different):
    """(points, standard error, leaf) of the share that is furthest from the truth."""
    return max((off, scatter, name) for name, (off, scatter) in different.items())


def verdict(different):
    """within, beyond or undecided: is every share, give or take two standard errors, within a point?"""
    if any(off - 2 * scatter > POINTS for off, scatter in different.values()):
        return "beyond"
    return "within" if all(off + 2 * scatter <= POINTS for off, scatter in different.values()) else "undecided"


def beyond_chance(different):
    """The shares that are further off than a point and what chance explains."""
    return {name: d for name, d in different.items() if d[0] > POINTS + 4 * d[1]}


def bounds(within, calls):
    """{function: (least, most)}: per cent of the samples that show it, and with those that may hide it."""
    total, seen, _, hidden = within
    result = {}
    for name in {**calls, **seen}:
        least = seen.get(name, 0)
        may = sum(n for names, n in hidden.items() if name not in names and name in calls.get(names[-1], ()))
        result[name] = 100 * least / max(total, 1), 100 * (least + may) / max(total, 1)
    return result


def outside(taken, truth):
    """The functions whose true share of samples is beyond what a mode shows and hides of them, by more than
    PART_POINTS and what chance explains: {function: (true, least, most, standard error)}."""
    calls = {}  # as the truth has seen them
    for _, _, below, _ in truth.within:
        for name, names in below.items():
            calls.setdefault(name, set()).update(names)
    got = [bounds(w, calls) for w in taken.within]
    true = [bounds(w, calls) for w in truth.within]
    result = {}
    for name in calls:
        if name in WAITING or not all(name in r for r in got + true):
            continue
        low, high, share = ([r[name][i] for r in side] for side, i in ((got, 0), (got, 1), (true, 0)))
        scatter = max(error([a - b for a, b in zip(bound, share)]) for bound in (low, high))
        least, most, is_so = (statistics.mean(x) for x in (low, high, share))
        if is_so < least - PART_POINTS - 4 * scatter or is_so > most + PART_POINTS + 4 * scatter:
            result[name] = is_so, least, most, scatter
    return result
