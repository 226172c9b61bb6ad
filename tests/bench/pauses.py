#!/usr/bin/python3
"""CPU of podspy's default mode on a target of short calls, as a share of py-spy's in the same run.

Each read of such a target's running thread is torn, so that it has to stand still for each sample.
podspy and py-spy, each in its default mode, take turns on the same process; shown are the medians of
CPU microseconds for a sample, the share, and how many of podspy's samples were paused. py-spy's CPU
is the slope between a short and a long run, podspy's that of its sampler (bench_sampler).
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import tempfile

import run
from run import peers

AIMS = {20: 0.10, 200: 0.03}


def podspy_once(build, pid, options):
    got = subprocess.run([build / "bin" / "bench_sampler", str(pid), str(options.long), str(options.rate)],
                         check=True, capture_output=True, text=True)
    return json.loads(got.stdout)


def pyspy_once(peer, target, options):
    short, long = (peers.run(peer, target, seconds, options.rate) for seconds in (options.short, options.long))
    counts = [sum(int(line.rpartition(" ")[2]) for line in taken.lines) for taken in (short, long)]
    if counts[1] <= counts[0]:
        raise peers.Skip(f"{counts[1]} samples in {options.long} s")
    return (long.cpu - short.cpu) / (counts[1] - counts[0]) * 1e6


def row(options, version, python, depth, folder):
    shutil.copy(run.HERE / "target.py", folder)
    peer = peers.PySpy(None)
    ours, theirs, failed = [], [], ""
    with run.started([str(python), str(folder / "target.py"), str(depth), "short"]) as pid:
        for _ in range(options.repeat):
            ours.append(podspy_once(options.build, pid, options))
            try:
                theirs.append(pyspy_once(peer, peers.Target(pid, folder, False, depth), options))
            except peers.Skip as why:
                failed = str(why)
    mine = statistics.median(r["us_per_sample"] for r in ours)
    paused = 100 * sum(r["paused"] for r in ours) / max(sum(r["samples"] for r in ours), 1)
    wakeup = statistics.median(r["timer_us"] for r in ours)
    if not theirs:
        return f"| {version}, depth {depth} | {mine:.1f} | {wakeup:.1f} | {paused:.0f} % | {failed} | - | {AIMS.get(depth, '-')} |"
    other = statistics.median(theirs)
    return (f"| {version}, depth {depth} | {mine:.1f} | {wakeup:.1f} | {paused:.0f} % | {other:.1f} | {mine / other:.2f} | "
            f"{AIMS.get(depth, '-')} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build folder")
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--short", type=int, default=2, help="seconds of py-spy's short run")
    parser.add_argument("--long", type=int, default=5, help="seconds of the long run, and of podspy's")
    parser.add_argument("--repeat", type=int, default=3, help="medians of that many")
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 200])
    parser.add_argument("--versions", type=lambda v: tuple(map(int, v.split("."))), nargs="+",
                        default=[(3, 8), (3, 11), (3, 13)])
    options = parser.parse_args()
    print(run.machine(), flush=True)
    print("| short calls | podspy, µs a sample | of that a wakeup and one read | paused | py-spy | share | aim |")
    print("|-|-|-|-|-|-|-|", flush=True)
    for version, python, _ in run.targets(None, options):
        for depth in options.depths:
            with tempfile.TemporaryDirectory() as folder:
                print(row(options, version, python, depth, pathlib.Path(folder)), flush=True)


if __name__ == "__main__":
    main()
