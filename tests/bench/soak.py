#!/usr/bin/python3
"""record -s -n at 1000 Hz on a tree of processes with threads that come and go (family.py), for minutes, and SIGKILLs.

The long recording: its memory and open files at the start, each minute and at the end, and what podspy said. Then so
many podspys are killed at random moments, every fourth one at a moment in which it holds a thread, where one is met;
after each, no thread of the tree may be stopped or traced, and each must count on. Ends with 1 where a thread did not,
where a recording failed, or where memory grew by more than a tenth from the first third to the end.
"""

import argparse
import contextlib
import os
import pathlib
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SLOT = struct.Struct("=QQQ")


# --- the tree ---

class Family:
    def __init__(self, process, slots):
        self.process, self.slots = process, slots

    def pids(self):
        """Of the root and its descendants."""
        found, left = [], [self.process.pid]
        while left:
            pid = left.pop()
            found.append(pid)
            for children in pathlib.Path("/proc", str(pid), "task").glob("*/children"):
                with contextlib.suppress(OSError):
                    left += map(int, children.read_text().split())
        return found

    def threads(self):
        """{(pid, tid): (state, tracer)}"""
        found = {}
        for pid in self.pids():
            for status in pathlib.Path("/proc", str(pid), "task").glob("*/status"):
                with contextlib.suppress(OSError):
                    said = status.read_text(errors="replace")
                    found[pid, int(status.parent.name)] = (re.search(r"^State:\s+(\S)", said, re.M)[1],
                                                           int(re.search(r"^TracerPid:\s+(\d+)", said, re.M)[1]))
        return found

    def counts(self):
        """{(pid, tid): count} of the threads that work."""
        return {(pid, tid): n for pid, tid, n in SLOT.iter_unpack(self.slots.read_bytes()) if pid}


@contextlib.contextmanager
def family(options, folder):
    slots = folder / "slots"
    slots.write_bytes(bytes(SLOT.size * 64 * (options.workers + 1)))
    command = [options.python, HERE / "family.py", slots, options.workers, options.threads, options.lifetime]
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    tree = Family(process, slots)
    try:
        assert process.stdout.readline() == "ready\n"
        await_true(lambda: len(tree.counts()) >= options.workers * (options.threads + 1), "the tree did not start")
        yield tree
    finally:
        ended = tree.pids()
        for pid in ended:  # the root first: it would start more
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def await_true(what, why, seconds=60):
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise SystemExit(why)
        time.sleep(0.02)


def threads_that_stand(tree, seconds):
    """Those that after so long are stopped, traced, or have not counted on: [(thread, why)]."""
    before, end = tree.counts(), time.monotonic() + seconds
    while True:
        now, states = tree.counts(), tree.threads()
        held = [(t, s) for t, s in states.items() if s[0] in "Tt" or s[1]]
        still = [(t, states[t]) for t, n in before.items() if now.get(t) == n and t in states]
        if not held + still or time.monotonic() > end:
            return held + still
        time.sleep(0.02)


# --- podspy ---

def start_podspy(options, tree, out):
    command = [options.build / "bin" / "podspy", "record", "-s", "-n", "-r", options.rate, "-f", "raw", "-p", tree.process.pid,
               "-d", "100000", "-o", out, *options.flags.split()]
    return subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def stop_while_it_holds(podspy, tree, seconds):
    """Stops podspy again and again until that is while it holds a thread; False: it was at no such moment."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        podspy.send_signal(signal.SIGSTOP)
        if any(tracer for _, tracer in tree.threads().values()):
            return True
        podspy.send_signal(signal.SIGCONT)
        time.sleep(random.random() / 1000)
    return False


def kill_once(options, tree, out, hunt):
    """The threads that stand still afterwards; whether one was held when podspy died."""
    podspy = start_podspy(options, tree, out)
    time.sleep(options.least + random.random() * (options.most - options.least))
    if podspy.poll() is not None:
        raise SystemExit("podspy ended by itself: %s" % podspy.stderr.read().decode())
    held = hunt and stop_while_it_holds(podspy, tree, 1)
    podspy.kill()
    podspy.communicate()
    return threads_that_stand(tree, 20), held


def kill_many(options, tree, out):
    """Whether all threads went on after each kill."""
    met, standing, started = 0, 0, time.monotonic()
    for n in range(1, options.kills + 1):
        stand, held = kill_once(options, tree, out, hunt=n % 4 == 0)
        met += held
        if stand:
            standing += 1
            print("kill %d: %s" % (n, stand), flush=True)
        if n % 100 == 0 or n == options.kills:
            print("%d SIGKILLs in %.0f s, of them %d while a thread was known to be held: after %d of them a thread stood "
                  "still (%d threads in the tree, load %.1f)"
                  % (n, time.monotonic() - started, met, standing, len(tree.threads()), os.getloadavg()[0]), flush=True)
    return standing == 0


def usage(pid):
    """(KiB resident, open files, seconds of CPU)"""
    status = pathlib.Path("/proc", str(pid), "status").read_text()
    fields = pathlib.Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return (int(re.search(r"^VmRSS:\s+(\d+)", status, re.M)[1]), len(os.listdir("/proc/%d/fd" % pid)),
            (int(fields[11]) + int(fields[12])) / ticks)


def record_long(options, tree, out):
    """Whether the recording ended well and its memory stayed flat."""
    podspy, sizes, seen = start_podspy(options, tree, out), [], set()
    started = time.monotonic()
    time.sleep(5)
    for minute in range(options.minutes + 1):
        while time.monotonic() < started + 5 + minute * 60:
            seen |= set(tree.pids())
            time.sleep(0.5)
        rss, files, cpu = usage(podspy.pid)
        sizes.append(rss)
        print("minute %2d: %6d KiB resident, %3d files open, %4.0f s of CPU, %4d processes so far, %d threads, load %.1f"
              % (minute, rss, files, cpu, len(seen), len(tree.threads()), os.getloadavg()[0]), flush=True)
    podspy.send_signal(signal.SIGINT)
    said = podspy.communicate(timeout=120)[1].decode()
    lines = [line for part in sorted(out.parent.glob("long*")) for line in part.read_text().splitlines()]
    print("\n".join(line for line in said.splitlines() if "Wrote" not in line))
    print("%d lines, %d samples, in %d processes" % (len(lines), sum(int(s.rpartition(" ")[2]) for s in lines),
                                                     len(set(re.findall(r"(?:^|;)[^;]* \((\d+)\)(?=[; ])", "\n".join(lines), re.M)))))
    stand = threads_that_stand(tree, 20)
    print("threads that stand still at the end: %s" % (stand or "none"))
    third, last = sizes[len(sizes) // 3], sizes[-1]
    print("memory from the first third to the end: %+.1f %%" % (100 * (last - third) / third), flush=True)
    return podspy.returncode == 0 and not stand and last < third * 1.1


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build folder")
    parser.add_argument("--minutes", type=int, default=30, help="of the long recording; 0: none")
    parser.add_argument("--kills", type=int, default=1000, help="SIGKILLs afterwards")
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--python", default="/usr/bin/python3", help="of the tree; 3.8 or later")
    parser.add_argument("--workers", type=int, default=3, help="processes beside the root")
    parser.add_argument("--threads", type=int, default=3, help="that stay, in each, beside its main thread")
    parser.add_argument("--lifetime", type=float, default=20, help="of a worker in seconds, on average")
    parser.add_argument("--least", type=float, default=0.02, help="seconds that podspy runs at least before it is killed")
    parser.add_argument("--most", type=float, default=1, help="and at most")
    parser.add_argument("--flags", default="", help="more flags of podspy record")
    return parser.parse_args()


def main():
    options = parse_options()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with family(options, folder) as tree:
            good = not options.minutes or record_long(options, tree, folder / "long")
            return 0 if kill_many(options, tree, folder / "killed") and good else 1


if __name__ == "__main__":
    sys.exit(main())
