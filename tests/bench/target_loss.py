#!/usr/bin/python3
"""What a target loses while it is sampled 100 times a second.

The target counts what it gets done in memory that this program reads. Slices with and without
podspy take turns, in the order ABBA, and each pair gives one ratio: of what was done in a second,
and of what was done in a second of the target's CPU time. The second does not see what other
programs take from the target, nor the time that it is held still. Shown is the mean loss with its
95 % confidence interval (Student's t over the pairs). The last row compares slices without podspy
with each other: it is what noise alone looks like.
"""

import argparse
import math
import mmap
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import turns

TARGET = """\
import mmap, sys
file = open(sys.argv[1], "r+b")
shared = mmap.mmap(file.fileno(), 8)
count = memoryview(shared).cast("Q")
class Point:
    def __init__(self, x): self.x = x
def leaf(p): return p.x + 1
def work(n): return sum(leaf(Point(i)) for i in range(n))
def deep(n): return deep(n - 1) if n else forever()
def forever():
    while True:
        work(20)
        count[0] += 1
sys.stdout.write("ready\\n"); sys.stdout.flush()
deep(15)
"""
MODES = {"default": [], "--nonblocking": ["--nonblocking"], "no podspy": None}
# Two-sided 95 %, by degrees of freedom; beyond: the normal distribution's.
STUDENT = {5: 2.57, 7: 2.36, 9: 2.26, 11: 2.20, 15: 2.13, 19: 2.09, 23: 2.07, 29: 2.05, 39: 2.02}


class Target:
    def __init__(self, python, folder):
        path = folder / "count"
        path.write_bytes(bytes(8))
        program = folder / "loss_target.py"
        program.write_text(TARGET)
        self.process = subprocess.Popen([python, program, path], stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"
        self.memory = mmap.mmap(os.open(path, os.O_RDONLY), 8, prot=mmap.PROT_READ)
        self.clock = (~self.process.pid) << 3 | 2  # clock_getcpuclockid(3)

    def now(self):
        return struct.unpack("Q", self.memory[:])[0], time.monotonic(), time.clock_gettime(self.clock)

    def slice(self, seconds):
        """(done in a second, done in a second of CPU)"""
        done, wall, cpu = self.now()
        time.sleep(seconds)
        done2, wall2, cpu2 = self.now()
        return (done2 - done) / (wall2 - wall), (done2 - done) / (cpu2 - cpu)


def loss(ratios):
    """'mean % ± half of the interval' of what is lost."""
    logs = [math.log(r) for r in ratios]
    n = len(logs)
    t = STUDENT.get(n - 1, 1.96)
    mean, half = statistics.mean(logs), t * statistics.stdev(logs) / math.sqrt(n)
    verdict = "noise" if abs(mean) <= half else "LOSS" if mean < 0 else "gain"
    return f"{-100 * mean:5.1f} % ± {100 * half:4.1f} ({verdict})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build folder")
    parser.add_argument("--python", default="/usr/bin/python3")
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--slice", type=float, default=1.0, help="seconds")
    options = parser.parse_args()
    print(f"a busy thread at depth 20, {options.rate} Hz, {options.pairs} pairs of {options.slice:g} s, "
          f"load {os.getloadavg()[0]:.1f}:")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        target = Target(options.python, folder)
        try:
            for mode, flags in MODES.items():
                flags = None if flags is None else ["--rate", str(options.rate), *flags]
                found = turns.pairs(target, flags, options, folder / "out")
                wall, cpu = ([with_[i] / without[i] for with_, without in found] for i in (0, 1))
                print(f"    {mode:14} lost of the work in a second {loss(wall)}, "
                      f"in a second of CPU {loss(cpu)}", flush=True)
        finally:
            target.process.kill()
            target.process.wait()


if __name__ == "__main__":
    sys.exit(main())
