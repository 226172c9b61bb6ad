#!/usr/bin/python3
"""CPU microseconds of a sampler for each valid thread-sample of one busy thread, as a table.

podspy, in its default mode, and the floors (one process_vm_readv of 4 KiB; the same after a wakeup by
the timer) are measured inside bench_sampler. A peer's
CPU is what its whole process used, as the slope between a short and a long run, so that start-up
and symbol loading do not count. A sample is valid when it has exactly the depth of the target.

The peers are those of tests/peers.py, each used where it is found.
PODSPY_BENCH_ROOTS=1 makes the sid root where it is missing (as root, some minutes, once).
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import peers  # noqa: E402
import pythons  # noqa: E402

# --- targets ---

@contextlib.contextmanager
def started(command):
    """A target that has said it is ready; ended by its pid."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"the target did not start: {command}")
        yield process.pid
    finally:
        process.kill()
        process.wait()


# --- peers ---

def valid_stacks(lines, depth):
    """Samples of exactly that depth."""
    return sum(int(line.rpartition(" ")[2]) for line in lines if line.count("target.py") == depth)


FLOOR = "one process_vm_readv of 4 KiB"
FAST = "podspy, as fast as it goes"
TIMER = "a wakeup by the timer and that read"


def measure_once(peer, target, seconds, rate):
    """(seconds of CPU, valid samples) of one run."""
    taken = peers.run(peer, target, seconds, rate)
    return taken.cpu, valid_stacks(taken.lines, target.depth)


def measure_peer(peer, target, options):
    """Microseconds for each valid sample: the median of the slopes."""
    slopes = []
    for _ in range(options.repeat):
        short = measure_once(peer, target, options.short, options.rate)
        long = measure_once(peer, target, options.long, options.rate)
        if long[1] <= short[1]:
            raise peers.Skip(f"{long[1]} valid samples in {options.long} s")
        slopes.append((long[0] - short[0]) / (long[1] - short[1]) * 1e6)
    return statistics.median(slopes)


# --- podspy ---

def measure_podspy(build, target, options):
    """{row: microseconds}; empty where podspy does not read this version."""
    rows = {}
    for name, rate in [(FAST, 0), (f"podspy, {options.rate} Hz", options.rate)]:
        runs = []
        for _ in range(options.repeat):
            got = subprocess.run([build / "bin" / "bench_sampler", str(target.pid),
                                  str(options.long), str(rate)], capture_output=True, text=True)
            if got.returncode != 0:
                print(f"  {name}: {got.stderr.strip()}", file=sys.stderr)
                return rows
            runs.append(json.loads(got.stdout))
        wrong = [r for r in runs if r["depth"] != target.depth or not r["samples"]]
        if wrong:
            raise SystemExit(f"podspy saw another depth than {target.depth}: {wrong}")
        rows[name] = statistics.median(r["us_per_sample"] for r in runs)
        rows[FLOOR] = min(r["floor_us"] for r in runs)
        if rate:
            rows[TIMER] = statistics.median(r["timer_us"] for r in runs)
    return rows


# --- the table ---

def targets(root, options):
    """[(name, python, inside the sid root?)] to measure on: one of each wanted version."""
    found = []
    for minor in options.versions:
        some = [p for p in pythons.supported() if p.minor == minor and not p.free_threaded
                and not p.debug and (not p.root or (root and p.root == root))]
        if some:
            p = sorted(some, key=lambda p: bool(p.root))[0]
            found.append((p.version, p.path, bool(p.root)))
        else:
            print("no Python %d.%d here" % minor, file=sys.stderr)
    if root and not any(inside for _, _, inside in found) and (3, 15) in options.versions:
        found.append(("3.15 (sid)", "python3.15", True))
    return found


def measure(build, target, used, options):
    column = measure_podspy(build, target, options)
    for peer in used:
        try:
            column[peer.name] = measure_peer(peer, target, options)
        except peers.Skip as why:
            print(f"  {peer.name}: left out: {why}", file=sys.stderr)
    return column


def measure_on(python, root, depth, folder, used, options):
    """Starts a target, inside root if there is one, and measures on it."""
    shutil.copy(HERE / "target.py", folder)
    command = [str(python), str(folder / "target.py"), str(depth)]
    if root:
        command = peers.in_root(root, folder, python, "/mnt/target.py", depth)
    with started(command) as pid:
        return measure(options.build, peers.Target(pid, folder, bool(root), depth), used, options)


def cell(column, row, base):
    if row not in column:
        return "-"
    to = FLOOR if row == FAST else base
    ratio = f" ({column[row] / column[to]:.2g}x)" if column.get(to) and row not in (to, FLOOR) else ""
    return f"{column[row]:.1f}{ratio}"


def print_table(columns, options):
    base = f"podspy, {options.rate} Hz"
    order = [FLOOR, FAST, TIMER, base]
    order += [p.name for p in peers.COST]
    rows = [r for r in order if any(r in c for c in columns.values())]
    print("| CPU µs for each valid sample | " + " | ".join(columns) + " |")
    print("|-|" + "-|" * len(columns))
    for row in rows:
        print(f"| {row} | " + " | ".join(cell(c, row, base) for c in columns.values()) + " |")


def machine():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return (f"{datetime.date.today()}, {os.cpu_count()} x {model[1] if model else platform.machine()}, "
            f"Linux {platform.release()}, load {os.getloadavg()[0]:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build folder")
    parser.add_argument("--rate", type=int, default=1000, help="of the peers, and of podspy's row")
    parser.add_argument("--short", type=int, default=2, help="seconds of the short run")
    parser.add_argument("--long", type=int, default=5, help="seconds of the long run")
    parser.add_argument("--repeat", type=int, default=1, help="medians of that many")
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 200])
    parser.add_argument("--versions", type=lambda v: tuple(map(int, v.split("."))), nargs="+",
                        default=[(3, 8), (3, 11), (3, 13), (3, 14), (3, 15)])
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    root = peers.sid_root()
    if not root:
        print("no sid root: PODSPY_BENCH_ROOTS=1 makes it, for Austin 3.7 and profiling.sampling",
              file=sys.stderr)
    used = [] if options.no_peers else [p(root) for p in peers.COST if root or not p.in_sid]
    columns = {}
    print(machine(), flush=True)
    for name, python, inside in targets(root, options):
        for depth in options.depths:
            column = f"{name}, depth {depth}"
            print(f"measuring {column}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as folder:
                columns[column] = measure_on(python, inside and root, depth, pathlib.Path(folder),
                                             used, options)
    print_table(columns, options)


if __name__ == "__main__":
    main()
