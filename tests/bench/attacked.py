#!/usr/bin/python3
"""What honest clients of a collector in 512 MiB notice of hostile clients and of too large queries:

    tests/bench/attacked.py --build build/release [--seconds 15] [--only NAME]

The collector runs in a cgroup of its own (root; else without, and a line says so) with the default
limits.memory_mib. An honest client, a process with an address of its own, pushes, asks for its own pod and
probes /readyz, each on a new connection, while each attack runs: a row tells how long the honest ones waited, how many were refused, and what the
collector used. slowhttptest's modes are left out, with a line, where it is not installed. At the end: descriptors
beside those of the start, and how long SIGTERM took while questions ran.
"""

import argparse
import concurrent.futures
import contextlib
import gzip
import multiprocessing
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import requests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "contract" / "collector"))
from collector import Batch, Collector, labels, usual_batch, usual_stacks  # noqa: E402

LIMIT_MIB = 512
SLOW_MODES = {"slow headers": ["-H"], "slow body": ["-B", "-s", "8192"], "slow read": ["-X", "-w", "1", "-y", "8", "-n", "5", "-z", "1"]}


@contextlib.contextmanager
def cgroup():
    """A cgroup of LIMIT_MIB: (a function that enters it, a function that returns its peak); (None, None) where none can be made."""
    for root, limit, peak in (("/sys/fs/cgroup", "memory.max", "memory.peak"),
                              ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes")):
        group = pathlib.Path(root) / f"podspy-attacked-{os.getpid()}"
        if not (pathlib.Path(root) / "cgroup.procs").exists():
            continue
        try:
            group.mkdir()
            (group / limit).write_text(str(LIMIT_MIB << 20))
        except OSError:
            continue
        yield group, lambda: int((group / peak).read_text()) >> 20
        group.rmdir()
        return
    print("no cgroup can be made here: memory is not limited")
    yield None, lambda: 0


class FromElsewhere(requests.adapters.HTTPAdapter):
    """Connections from a separate address, since each address has a limit."""

    def init_poolmanager(self, *args, **more):
        super().init_poolmanager(*args, source_address=("127.7.7.7", 0), **more)


def be_honest(c, stop, found):
    """In a process of its own: a push, a question and a probe again and again, each on a new connection."""
    took, wrong = {"push": [], "question": [], "readyz": []}, {}
    asks = {"push": lambda s: c.push(usual_batch(pod="honest").bytes(), session=s, Connection="close"),
            "question": lambda s: s.get(f"http://127.0.0.1:{c.http}/profiles?pod=honest&format=json", timeout=60),
            "readyz": lambda s: s.get(c.url("/readyz"), verify=c.ca, timeout=60)}

    def run(name):
        while not stop.wait(0.05):
            with requests.Session() as s:
                for scheme in ("http://", "https://"):
                    s.mount(scheme, FromElsewhere())
                began = time.monotonic()
                try:
                    status = asks[name](s).status_code
                except requests.RequestException as e:
                    status = type(e).__name__
                took[name].append(time.monotonic() - began)
            if status != 200:
                wrong.setdefault(name, []).append(status)

    threads = [threading.Thread(target=run, args=(name,)) for name in asks]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    found.put((took, wrong))


class Honest:
    def __init__(self, c):
        fork = multiprocessing.get_context("fork")
        self.stop, self.found = fork.Event(), fork.Queue()
        self.process = fork.Process(target=be_honest, args=(c, self.stop, self.found))
        self.process.start()

    def end(self):
        self.stop.set()
        self.took, self.wrong = self.found.get()
        self.process.join()


def ms(took, part):
    return 1000 * sorted(took)[min(len(took) - 1, int(len(took) * part))]


def status_kib(pid, key):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(l for l in text.splitlines() if l.startswith(key + ":")).split()[1])


def descriptors(c):
    return len(os.listdir(f"/proc/{c.process.pid}/fd"))


def many(n, work, *items):
    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        return list(pool.map(work, *items))


def tally(answers):
    counts = {}
    for a in answers:
        counts[a] = counts.get(a, 0) + 1
    return " ".join(f"{n}x{status}" for status, n in sorted(counts.items(), key=str))


def asked(ask, *args, **more):
    try:
        return ask(*args, **more).status_code
    except requests.RequestException as e:
        return type(e).__name__


def wait(c, seconds):
    time.sleep(seconds)
    return ""


def slow(mode):
    def attack(c, seconds):
        p = subprocess.run(["slowhttptest", "-c", "800", *SLOW_MODES[mode], "-i", "5", "-r", "400", "-l", str(int(seconds)), "-p", "3",
                            "-u", c.url("/v1development/profiles" if mode == "slow body" else "/healthz")],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return f"800 connections, slowhttptest ended with {p.returncode}"

    return attack


def label_sets(c, seconds):
    """100,000 processes that nobody has seen before."""
    def push(first):
        b = Batch()
        for n in range(first, first + 100):
            b.add(labels(pod=f"many-{n // 50}", pid=n % 50 + 1), usual_stacks()[:1])
        return asked(c.push, b.bytes())

    return "100,000 label sets, 100 a request: " + tally(many(4, push, range(0, 100_000, 100)))


def mutated(c, seconds):
    """Honest bodies with changed bits, bytes and ends."""
    honest = [usual_batch(pod=f"mutated-{n}").bytes() for n in range(8)]

    def push(seed):
        r = random.Random(seed)
        b = bytearray(r.choice(honest))
        for _ in range(r.choice((1, 1, 3, 30))):
            at = r.randrange(len(b))
            how = r.randrange(4)
            if how == 0:
                b[at] ^= 1 << r.randrange(8)
            elif how == 1:
                b[at:at] = r.randbytes(r.randrange(1, 12))
            elif how == 2 and len(b) > 2:
                del b[at:at + r.randrange(1, 12)]
            else:
                other = r.choice(honest)
                b[at:at + 40] = other[at:at + r.randrange(80)]
            b = b or bytearray(b"\0")
        return asked(c.push, bytes(b))

    return "10,000 bodies: " + tally(many(4, push, range(10_000)))


def bombs(c, seconds):
    zeros = gzip.compress(b"\0" * (1 << 30), 9)
    empty = gzip.compress(b"\x12\x02\x2a\x00" * (12 << 20), 6)
    return "gzip of 1 GiB, and of 12 million empty strings: " + tally(many(16, lambda n: asked(c.push, zeros if n % 2 else empty, "gzip"), range(32)))


def thousand(c, seconds):
    """One client of 1000 threads, a push on a new connection each, until time is over."""
    end = time.monotonic() + seconds
    body = usual_batch(pod="thousand").bytes()

    def push(_):
        answers = []
        while time.monotonic() < end:
            answers.append(asked(c.push, body))
        return answers

    return "1000 threads: " + tally(a for answers in many(1000, push, range(1000)) for a in answers)


def wide(c, seconds):
    return "24 at a time: " + tally(many(24, lambda _: asked(c.get_plain, "/profiles?format=svg&pod=many-*&max_nodes=1000000"), range(48)))


def left(c, seconds):
    for _ in range(200):
        with contextlib.suppress(requests.RequestException):
            requests.get(f"http://127.0.0.1:{c.http}/profiles?format=json&pod=many-*&max_nodes=50000", timeout=0.01)
    time.sleep(seconds / 2)
    return "200 wide questions whose clients left"


def expressions(c, seconds):
    hard = "&".join(f"include=.*[{a}-z/_].{{450}}~" for a in "abcdefghijklmnop")
    return "16 of 16 expressions: " + tally(many(16, lambda _: asked(c.get_plain, f"/top?pod=many-*&{hard}"), range(16)))


ATTACKS = {"none": wait, **{mode: slow(mode) for mode in SLOW_MODES}, "label sets": label_sets, "mutated": mutated, "bombs": bombs,
           "1000 threads": thousand, "wide questions": wide, "abandoned": left, "expressions": expressions}


def row(name, c, seconds, attack, peak):
    honest = Honest(c)
    said = attack(c, seconds)
    honest.end()
    times = " ".join("%s %.0f/%.0f/%.0f" % (k, ms(t, 0.5), ms(t, 0.99), max(t) * 1000) for k, t in honest.took.items())
    refused = ", ".join(f"{k} {tally(v)}" for k, v in honest.wrong.items()) or "none"
    print(f"{name:15s} {times}; refused: {refused}; rss {status_kib(c.process.pid, 'VmRSS') >> 10} (peak "
          f"{status_kib(c.process.pid, 'VmHWM') >> 10}, group {peak()}) MiB, {descriptors(c)} descriptors. {said}", flush=True)


def sigterm(c):
    threads = [threading.Thread(target=asked, args=(c.get_plain, "/profiles?format=svg&pod=many-*&max_nodes=1000000"), daemon=True)
               for _ in range(16)]
    for t in threads:
        t.start()
    time.sleep(1)
    began = time.monotonic()
    status = c.stop()
    print(f"SIGTERM with 16 wide questions at work: {time.monotonic() - began:.1f} s, exit status {status}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default="build/release", help="the build whose collector is attacked")
    p.add_argument("--seconds", type=float, default=15, help="of the attacks that last as long as one likes")
    p.add_argument("--only", choices=list(ATTACKS), action="append", help="this attack alone; may be given again")
    args = p.parse_args()
    program = pathlib.Path(args.build) / "bin" / "podspy-collector"
    print("load %.1f; ms of honest clients as median/p99/longest; memory limit %d MiB" % (os.getloadavg()[0], LIMIT_MIB))
    with cgroup() as (group, peak), tempfile.TemporaryDirectory() as scratch:
        start = pathlib.Path(scratch) / "start"
        enter = f"echo $$ >{group}/cgroup.procs" if group else ":"
        start.write_text(f'#!/bin/sh\n{enter}\nexec "{program.resolve()}" "$@"\n')
        start.chmod(0o755)
        c = Collector(start, pathlib.Path(scratch) / "data")
        c.push(usual_batch(pod="honest").bytes())
        time.sleep(1)
        before = descriptors(c)
        for name, attack in ATTACKS.items():
            if args.only and name not in args.only:
                continue
            if name in SLOW_MODES and not shutil.which("slowhttptest"):
                print(f"{name:15s} left out: slowhttptest is not installed")
                continue
            row(name, c, args.seconds, attack, peak)
        time.sleep(12)  # connections that say nothing are cut after 10
        print(f"descriptors: {before} before, {descriptors(c)} after")
        sigterm(c)


if __name__ == "__main__":
    main()
