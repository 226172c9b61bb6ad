#!/usr/bin/python3
"""CPU of a sample with native frames, beside py-spy's --native in the same run.

The target sorts with a key function that calls re and json. Both run as whole processes, in turns;
the CPU time of a sample is the slope between a short and a long run, so that their start does not
count: podspy's samples whose native frames were merged, and all of py-spy's. Both take threads that
wait for a CPU, too (-i). Shown are medians.
"""

import argparse
import os
import pathlib
import re
import resource
import statistics
import subprocess
import tempfile

import run
from run import peers

AIM = 0.33
WORKLOAD = run.HERE.parent / "contract" / "mixed" / "workload.py"


def cpu_and_text(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stderr


def podspy(options, pid, seconds, out):
    cpu, said = cpu_and_text([options.build / "bin" / "podspy", "record", "-n", "-i", "-f", "raw", "-r", options.rate,
                              "-d", seconds, "-p", pid, "-o", out])
    failed, asked = map(int, re.search(r"Native frames: (\d+) of (\d+)", said).groups())
    return cpu, asked - failed


def pyspy(options, pid, seconds, out):
    program = peers.PySpy(None).program
    cpu, _ = cpu_and_text([program, "record", "-n", "-i", "-f", "raw", "-r", options.rate, "-d", seconds, "-p", pid,
                           "-o", out])
    return cpu, sum(int(line.rpartition(" ")[2]) for line in out.read_text().splitlines())


def us_a_sample(sampler, options, pid, folder):
    (cpu1, n1), (cpu2, n2) = (sampler(options, pid, s, folder / "out") for s in (options.short, options.long))
    return (cpu2 - cpu1) / max(n2 - n1, 1) * 1e6


def row(options, version, python, folder):
    with run.started([str(python), str(WORKLOAD)]) as pid:
        found = {}
        for _ in range(options.repeat):
            for sampler in (podspy, pyspy) if peers.PySpy(None).program else (podspy,):
                found.setdefault(sampler, []).append(us_a_sample(sampler, options, pid, folder))
    mine = statistics.median(found[podspy])
    if pyspy not in found:
        return f"| {version} | {mine:.0f} | not on PATH | - | {AIM} |"
    other = statistics.median(found[pyspy])
    return f"| {version} | {mine:.0f} | {other:.0f} | {mine / other:.2f} | {AIM} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build folder")
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--short", type=int, default=2, help="seconds of the short run")
    parser.add_argument("--long", type=int, default=6, help="seconds of the long run")
    parser.add_argument("--repeat", type=int, default=3, help="medians of that many")
    parser.add_argument("--versions", type=lambda v: tuple(map(int, v.split("."))), nargs="+",
                        default=[(3, 8), (3, 11), (3, 13)])
    options = parser.parse_args()
    print(run.machine(), f"load {os.getloadavg()[0]:.1f}", flush=True)
    print("| native frames | podspy, µs a sample | py-spy | share | aim |\n|-|-|-|-|-|", flush=True)
    for version, python, _ in run.targets(None, options):
        with tempfile.TemporaryDirectory() as folder:
            print(row(options, version, python, pathlib.Path(folder)), flush=True)


if __name__ == "__main__":
    main()
