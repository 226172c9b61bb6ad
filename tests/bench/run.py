#!/usr/bin/python3
"""CPU microseconds of a sampler for each valid thread-sample of one busy thread, as a table.

podspy, in its default mode, and the floors (one process_vm_readv of 4 KiB; the same after a wakeup by
the timer) are measured inside bench_sampler. A peer's
CPU is what its whole process used, as the slope between a short and a long run, so that start-up
and symbol loading do not count. A sample is valid when it has exactly the depth of the target.

Peers, each used where it is found:
  py-spy              $PODSPY_BENCH_PYSPY, or py-spy on PATH
  Austin 4            $PODSPY_BENCH_AUSTIN, or austin on PATH; needs mojo2austin beside it
  Austin 3.7          in a sid root: that of tests/interpreters.sh, or tests/bench/sid-root.sh's
  profiling.sampling  CPython 3.15's own, in the sid root, on a 3.15 target in there
PODSPY_BENCH_ROOTS=1 makes the sid root where it is missing (as root, some minutes, once).
"""

import argparse
import collections
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
import pythons  # noqa: E402

# folder: where peers write; a target inside the sid root sees it as /mnt.
Target = collections.namedtuple("Target", "pid depth folder in_root")


class Skip(Exception):
    """A peer cannot do this; the message says why."""


# --- targets ---

def sid_root():
    """A root with Debian sid's interpreters: the one of tests/interpreters.sh, else sid-root.sh's, which is
    made where that is asked for; None where there is none."""
    roots = [p.root for p in pythons.supported() if p.root and p.minor == (3, 15)]
    if roots:
        return pathlib.Path(roots[0])
    script = HERE / "sid-root.sh"
    if os.environ.get("PODSPY_BENCH_ROOTS") == "1":
        subprocess.run([script, "make"], check=True)
    path = pathlib.Path(subprocess.run([script, "path"], check=True, capture_output=True,
                                       text=True).stdout.strip())
    return path if (path / ".complete").exists() else None


def in_root(root, mount, *command):
    """A command line that runs command inside root, which has our /proc, and mount as /mnt."""
    setup = 'mount --bind /proc "$1/proc"; mount --bind "$2" "$1/mnt"; root=$1; shift 2; exec chroot "$root" "$@"'
    return ["unshare", "--mount", "sh", "-ec", setup, "sh", str(root), str(mount), *map(str, command)]


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

def used_by(command, log):
    """Seconds of CPU of a command and its children, until its end."""
    process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


def valid_stacks(path, depth, counted):
    """Samples of exactly that depth. counted: lines end in a count, else each is one sample."""
    n = 0
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.count("target.py") == depth and not line.startswith("#"):
                n += int(line.rsplit(" ", 1)[1]) if counted else 1
    return n


class PySpy:
    name = "py-spy --nonblocking"
    counted = True

    def __init__(self, root):
        self.program = os.environ.get("PODSPY_BENCH_PYSPY") or shutil.which("py-spy")

    def command(self, target, seconds, rate, out):
        if not self.program:
            raise Skip("not on PATH")
        return [self.program, "record", "--nonblocking", "-f", "raw", "-r", rate, "-d", seconds,
                "-p", target.pid, "-o", out]

    def stacks(self, out):
        return out


class Austin4:
    name = "Austin 4"
    counted = False

    def __init__(self, root):
        self.root = root
        self.program = os.environ.get("PODSPY_BENCH_AUSTIN") or shutil.which("austin")

    def launcher(self):
        """Its C library is newer than Debian 12's: through the sid root's loader, if there is one."""
        if not self.program:
            raise Skip("not on PATH")
        if subprocess.run([self.program, "--version"], capture_output=True).returncode == 0:
            return [self.program]
        if not self.root:
            raise Skip("needs a newer C library and there is no sid root")
        return [self.root / "lib64/ld-linux-x86-64.so.2", "--library-path",
                self.root / "usr/lib/x86_64-linux-gnu", self.program]

    def command(self, target, seconds, rate, out):
        return [*self.launcher(), "-i", 1000000 // rate, "-x", seconds, "-p", target.pid, "-o", out]

    def stacks(self, out):
        reader = pathlib.Path(self.program).with_name("mojo2austin")
        if not reader.exists():
            raise Skip("mojo2austin (package austin-python) is not beside it")
        text = out.with_suffix(".txt")
        subprocess.run([reader, out, text], check=True, capture_output=True)
        return text


class Austin3(Austin4):
    name = "Austin 3.7 (Debian sid)"

    def __init__(self, root):
        super().__init__(root)
        self.program = None
        for place in ("usr/bin/austin", "opt/austin/usr/bin/austin"):
            if root and (root / place).exists():
                self.program = root / place

    def stacks(self, out):
        return out


class ProfilingSampling:
    name = "profiling.sampling (CPython 3.15)"
    counted = True

    def __init__(self, root):
        self.root = root

    def command(self, target, seconds, rate, out):
        if not target.in_root:
            raise Skip("reads only its own version")
        # In the target's own mounts, where the paths in its maps are true.
        return ["nsenter", "--target", target.pid, "--mount", "--root", "python3.15", "-m",
                "profiling.sampling", "attach", "--collapsed", "-o", f"/mnt/{out.name}", "-r", rate,
                "-d", seconds, target.pid]

    def stacks(self, out):
        return out


FLOOR = "one process_vm_readv of 4 KiB"
FAST = "podspy, as fast as it goes"
TIMER = "a wakeup by the timer and that read"
PEERS = [PySpy, Austin4, Austin3, ProfilingSampling]


def measure_once(peer, target, seconds, rate):
    """(seconds of CPU, valid samples) of one run."""
    out = target.folder / "out"
    out.unlink(missing_ok=True)
    with open(target.folder / "log", "w+", encoding="utf-8", errors="replace") as log:
        status, cpu = used_by([str(a) for a in peer.command(target, seconds, rate, out)], log)
        log.seek(0)
        said = log.read().strip().splitlines()
    if not out.exists():
        raise Skip(f"wrote nothing, exit code {status}: {(said or ['-'])[-1][:100]}")
    return cpu, valid_stacks(peer.stacks(out), target.depth, peer.counted)


def measure_peer(peer, target, options):
    """Microseconds for each valid sample: the median of the slopes."""
    slopes = []
    for _ in range(options.repeat):
        short = measure_once(peer, target, options.short, options.rate)
        long = measure_once(peer, target, options.long, options.rate)
        if long[1] <= short[1]:
            raise Skip(f"{long[1]} valid samples in {options.long} s")
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


def measure(build, target, peers, options):
    column = measure_podspy(build, target, options)
    for peer in peers:
        try:
            column[peer.name] = measure_peer(peer, target, options)
        except Skip as why:
            print(f"  {peer.name}: left out: {why}", file=sys.stderr)
    return column


def measure_on(python, root, depth, folder, peers, options):
    """Starts a target, inside root if there is one, and measures on it."""
    shutil.copy(HERE / "target.py", folder)
    command = [str(python), str(folder / "target.py"), str(depth)]
    if root:
        command = in_root(root, folder, python, "/mnt/target.py", depth)
    with started(command) as pid:
        return measure(options.build, Target(pid, depth, folder, bool(root)), peers, options)


def cell(column, row, base):
    if row not in column:
        return "-"
    to = FLOOR if row == FAST else base
    ratio = f" ({column[row] / column[to]:.2g}x)" if column.get(to) and row not in (to, FLOOR) else ""
    return f"{column[row]:.1f}{ratio}"


def print_table(columns, options):
    base = f"podspy, {options.rate} Hz"
    order = [FLOOR, FAST, TIMER, base]
    order += [p.name for p in PEERS]
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
    root = sid_root()
    if not root:
        print("no sid root: PODSPY_BENCH_ROOTS=1 makes it, for Austin 3.7 and profiling.sampling",
              file=sys.stderr)
    peers = [p(root) for p in PEERS if root or p not in (Austin3, ProfilingSampling)]
    peers = [] if options.no_peers else peers
    columns = {}
    print(machine(), flush=True)
    for name, python, inside in targets(root, options):
        for depth in options.depths:
            column = f"{name}, depth {depth}"
            print(f"measuring {column}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as folder:
                columns[column] = measure_on(python, inside and root, depth, pathlib.Path(folder),
                                             peers, options)
    print_table(columns, options)


if __name__ == "__main__":
    main()
