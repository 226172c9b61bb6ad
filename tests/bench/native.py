#!/usr/bin/python3
"""CPU of a sample with native frames, and how long it holds the target, beside py-spy's --native in the same run.

The target sorts with a key function that calls re and json. Both run as whole processes, in turns, for a short and for a
long time. The slope between the two is what a further sample costs, and what remains is the start: attaching, and
reading files. Shown are medians, and the share of py-spy's CPU in whole long runs, start included. Samples of podspy
are those whose native frames were merged; both take threads that wait for a CPU, too (-i).

The second table is measured in the target (held_target.py), which notes how long it stands still at each stop. What it
waits for a CPU meanwhile is not counted.
"""

import argparse
import os
import pathlib
import re
import resource
import statistics
import struct
import subprocess
import tempfile

import run
from run import peers, pythons

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


def run_both(sampler, options, pid, folder):
    """(us of CPU a further sample, us of CPU of the start, us a sample of the whole long run)"""
    (cpu1, n1), (cpu2, n2) = (sampler(options, pid, s, folder / "out") for s in (options.short, options.long))
    slope = (cpu2 - cpu1) / max(n2 - n1, 1) * 1e6
    return slope, cpu1 * 1e6 - n1 * slope, cpu2 / max(n2, 1) * 1e6


def samplers():
    return (podspy, pyspy) if peers.PySpy(None).program else (podspy,)


def cpu_row(options, python, folder):
    found = {podspy: [], pyspy: []}
    with run.started([str(python.path), str(WORKLOAD)]) as pid:
        for _ in range(options.repeat):
            for sampler in samplers():
                found[sampler].append(run_both(sampler, options, pid, folder))
    (slope, start, whole), other = ([statistics.median(x) for x in zip(*found[s])] for s in (podspy, pyspy))
    if not other:
        return f"| {python.id} | {slope:.0f} | {start / 1e3:.0f} ms | {whole:.0f} | py-spy is not on PATH | - | - | - | {AIM} |"
    return (f"| {python.id} | {slope:.0f} | {start / 1e3:.0f} ms | {whole:.0f} | {other[0]:.0f} | {other[1] / 1e3:.0f} ms | "
            f"{other[2]:.0f} | {slope / other[0]:.2f} | {whole / other[2]:.2f} | {AIM} |")


def stops(path, since):
    """(number, microseconds of each since then)"""
    data = path.read_bytes()
    n = struct.unpack_from("Q", data)[0]
    return n, [ns / 1e3 for ns in struct.unpack_from(f"{n - since}Q", data, 8 + 8 * since)]


def held(sampler, options, pid, folder):
    before = stops(folder / "stops", 0)[0]
    sampler(options, pid, options.long, folder / "out")
    return sorted(stops(folder / "stops", before)[1])


def held_rows(options, python, folder):
    """How long the target stood still: p50, p99 and longest of each, and the ratios."""
    library = options.build / "bin" / "bench_held.so"
    target = [str(python.path), str(run.HERE / "held_target.py"), str(library), str(folder / "stops")]
    if subprocess.run([str(python.path), "-c", "import ctypes"], check=False, capture_output=True).returncode:
        yield f"| {python.id} | it has no ctypes | - | - | - | - |"
        return
    found = {s: [] for s in samplers()}
    with run.started(target) as pid:
        for _ in range(options.repeat):
            for sampler in found:
                found[sampler] += held(sampler, options, pid, folder)
    figures = {}
    for sampler, times in found.items():
        times.sort()
        if times:
            figures[sampler] = [times[len(times) // 2], times[len(times) * 99 // 100], times[-1]]
            yield f"| {python.id} | {sampler.__name__} | {len(times)} | " + " | ".join(f"{x:.0f}" for x in figures[sampler]) + " |"
    if len(figures) == 2:
        shares = [mine / other for mine, other in zip(figures[podspy], figures[pyspy])]
        yield f"| {python.id} | share | - | " + " | ".join(f"{x:.2f}" for x in shares) + " |"


def wanted(options):
    found = [p for p in pythons.here() if p.minor in options.versions and not p.free_threaded and not p.debug]
    return sorted(found, key=lambda p: (p.minor, p.id))


def print_cpu(options):
    print("| CPU, µs a sample | podspy | start | whole run | py-spy | start | whole run | share | share of whole runs | aim |")
    print("|-|-|-|-|-|-|-|-|-|-|", flush=True)
    for python in wanted(options):
        with tempfile.TemporaryDirectory() as folder:
            print(cpu_row(options, python, pathlib.Path(folder)), flush=True)


def print_held(options):
    print("\n| held, µs a stop | | stops | p50 | p99 | longest |\n|-|-|-|-|-|-|", flush=True)
    for python in wanted(options):
        with tempfile.TemporaryDirectory() as folder:
            for line in held_rows(options, python, pathlib.Path(folder)):
                print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build folder")
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--short", type=int, default=2, help="seconds of the short run")
    parser.add_argument("--long", type=int, default=6, help="seconds of the long run")
    parser.add_argument("--repeat", type=int, default=3, help="medians of that many")
    parser.add_argument("--only", choices=["cpu", "held"], help="one of the two tables")
    parser.add_argument("--versions", type=lambda v: tuple(map(int, v.split("."))), nargs="+",
                        default=[(3, 8), (3, 11), (3, 12), (3, 13)])
    options = parser.parse_args()
    print(run.machine(), flush=True)
    if options.only != "held":
        print_cpu(options)
    if options.only != "cpu":
        print_held(options)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
