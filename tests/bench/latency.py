#!/usr/bin/python3
"""What a sampled service's latency is: a target that does 1 ms of work every 2 ms.

The target notes for each piece of work how long after its due time it was done. Slices with and without
podspy take turns, in the order ABBA; what is shown is the median over the slices of each slice's p50 and
p99, and the ratio with : without of each pair, with its range. The last row compares slices without podspy
with each other: it is what noise alone looks like.
"""

import argparse
import mmap
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import turns

BACKLOG_MS = 3
SIZE = 1 << 17  # pieces of work that are kept, as a ring
TARGET = """\
import mmap, sys, time
file = open(sys.argv[1], "r+b")
shared = mmap.mmap(file.fileno(), 8 + 8 * %d)
count, ring = memoryview(shared)[:8].cast("Q"), memoryview(shared)[8:].cast("d")
def step(n): return n * n
def work(times):
    for n in range(times): step(n)
def deep(n): return deep(n - 1) if n else serve()
def calibrate():
    times = 1000
    while True:
        t = time.perf_counter(); work(times); took = time.perf_counter() - t
        if took > 0.02: return int(times * 0.001 / took)
        times *= 2
def serve():
    times, due = calibrate(), time.monotonic()
    sys.stdout.write("ready\\n"); sys.stdout.flush()
    while True:
        due = max(due + 0.002, time.monotonic() - 0.1)
        time.sleep(max(due - time.monotonic(), 0))
        work(times)
        ring[count[0] %% %d] = time.monotonic() - due
        count[0] += 1
deep(15)
""" % (SIZE, SIZE)
MODES = {"100 Hz": ["--rate", "100"], "1000 Hz": ["--rate", "1000"],
         "100 Hz --nonblocking": ["--rate", "100", "--nonblocking"], "no podspy": None}


class Target:
    def __init__(self, python, folder):
        path = folder / "ring"
        path.write_bytes(bytes(8 + 8 * SIZE))
        program = folder / "latency_target.py"
        program.write_text(TARGET)
        self.process = subprocess.Popen([python, program, path], stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"
        memory = memoryview(mmap.mmap(os.open(path, os.O_RDONLY), 0, prot=mmap.PROT_READ))
        self.count, self.ring = memory[:8].cast("Q"), memory[8:].cast("d")

    def slice(self, seconds):
        """(p50, p99) in milliseconds."""
        first = self.count[0]
        time.sleep(seconds)
        done = sorted(self.ring[i % SIZE] for i in range(first, self.count[0]))
        return tuple(1000 * done[int(len(done) * q)] for q in (0.5, 0.99))


def show(mode, found):
    # Where the machine gave so little that the work without podspy was not done in time, the backlog is what is measured.
    good = [pair for pair in found if pair[1][0] < BACKLOG_MS]
    text = "    %-21s" % mode
    if len(good) < len(found):
        text += "  %d of %d pairs left out (a backlog without podspy)" % (len(found) - len(good), len(found))
    found = good
    if not found:
        print(text, flush=True)
        return
    for i, name in enumerate(("p50", "p99")):
        with_, without = ([pair[k][i] for pair in found] for k in (0, 1))
        ratios = sorted(a / b for a, b in zip(with_, without))
        text += "  %s %.2f ms, without %.2f: ratio %.2f (%.2f to %.2f)" % (
            name, statistics.median(with_), statistics.median(without), statistics.median(ratios), ratios[0],
            ratios[-1])
    print(text, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build folder")
    parser.add_argument("--python", default="/usr/bin/python3")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--slice", type=float, default=2.0, help="seconds")
    options = parser.parse_args()
    print(f"1 ms of work every 2 ms at depth 15, {options.pairs} pairs of {options.slice:g} s, "
          f"load {os.getloadavg()[0]:.1f}:")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        target = Target(options.python, folder)
        try:
            for mode, flags in MODES.items():
                show(mode, turns.pairs(target, flags, options, folder / "out"))
        finally:
            target.process.kill()
            target.process.wait()


if __name__ == "__main__":
    sys.exit(main())
