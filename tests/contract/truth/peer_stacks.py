"""Checks by check.py what the peers of tests/peers.py wrote about the stress target. It distinguishes:
- "empty": stacks without a frame, and those in which the peer itself says that it does not know one. They are
  not counted as impossible;
- "trampolines": the frame `__init__` of a file `__init__`, which CPython from 3.12 on puts between a caller and a
  constructor and no traceback has. It is taken out, and the rest is judged;
- "cut off": stacks of possible pairs whose outermost frames are missing. They are impossible, too.
"""
import check
import shares

TRAMPOLINE = ("__init__", "__init__", 0)
UNKNOWN = {("INVALID", "", 0), ("<unknown function>", "<unknown file>", 0)}  # Austin 3.7, profiling.sampling
COUNTS = ("samples", "empty", "trampolines", "cut")


def raw(frames, count):
    return "%s %d" % (";".join("%s (%s:%d)" % f for f in frames), count)


class Judged(shares.Taken):
    def __init__(self):
        super().__init__()
        self.counts, self.errors = dict.fromkeys(COUNTS, 0), []

    def add_lines(self, lines, errors=None):
        """A round: raw stacks, and what per cent of its attempts the peer says to have failed, or None."""
        kept = []
        for line in lines:
            frames, count = check.parse(line)
            self.counts["samples"] += count
            if line.startswith(" ") or UNKNOWN & set(frames):
                self.counts["empty"] += count
                continue
            own = [f for f in frames if f != TRAMPOLINE]
            self.counts["trampolines"] += count if len(own) < len(frames) else 0
            if own:
                kept.append((own, count))
        # Some peers do not tell qualified names, whatever the version.
        qualified = any("." in f[0] for frames, _ in kept for f in frames if check.is_stress(f[1]))
        found, _, leaves = check.faults([raw(*k) for k in kept], qualified)
        self.counts["cut"] += sum(count for count, what, _ in found if what.startswith(check.CUT_OFF))
        self.add(found, leaves)
        self.errors += [] if errors is None else [errors]

    def percent(self, n):
        return "%.3g" % (100 * n / max(self.counts["samples"], 1))

    def cells(self):
        c = self.counts
        errors = "%.3g" % (sum(self.errors) / len(self.errors)) if self.errors else "-"
        return [str(c["samples"]), self.percent(self.impossible()), self.percent(c["cut"]),
                self.percent(c["empty"]), errors, self.percent(c["trampolines"])]
