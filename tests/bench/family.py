"""A tree of processes and threads that come and go: family.py FILE WORKERS THREADS SECONDS.

Each worker lives for about SECONDS, then another one takes its place: every second one is a fork, the others call exec.
In each, THREADS threads and the main thread stay, and two more threads live for a second or two at a time. Each thread
works for a millisecond out of about thirty, and counts that in a slot of its own in FILE: process, thread, count.
"""

import mmap
import os
import random
import re
import struct
import subprocess
import sys
import threading
import time

SLOT = struct.Struct("=QQQ")
A_WORKER = 64  # slots
path, workers, threads, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])


def size():
    return SLOT.size * A_WORKER * (workers + 1)


def work(until):
    while time.perf_counter() < until:
        sorted(range(40), key=lambda n: re.sub("1", "2", str(n)))


def live(slots, number, end):
    """One thread, until end."""
    at, count = SLOT.size * number, 0
    while time.monotonic() < end:
        work(time.perf_counter() + 0.001)
        count += 1
        SLOT.pack_into(slots, at, os.getpid(), threading.get_native_id(), count)
        time.sleep(0.02 + random.random() / 50)
    SLOT.pack_into(slots, at, 0, 0, 0)


def come_and_go(slots, number, end):
    while time.monotonic() < end:
        one = threading.Thread(target=live, args=(slots, number, time.monotonic() + 1 + random.random()))
        one.start()
        one.join()


def be_worker(which):
    with open(path, "r+b") as f:
        slots = mmap.mmap(f.fileno(), size())
    end = time.monotonic() + seconds * (0.5 + random.random())
    first = which * A_WORKER
    started = [threading.Thread(target=live, args=(slots, first + 1 + n, end)) for n in range(threads)]
    started += [threading.Thread(target=come_and_go, args=(slots, first + 1 + threads + n, end)) for n in range(2)]
    for t in started:
        t.start()
    live(slots, first, end)
    for t in started:
        t.join()


def start_worker(which, forked):
    """The child's process id."""
    if not forked:
        return subprocess.Popen([sys.executable, *sys.argv, str(which)]).pid
    pid = os.fork()
    if pid == 0:
        try:
            be_worker(which)
        finally:
            os._exit(0)
    return pid


def be_root():
    running, turn = {}, 0
    print("ready", flush=True)
    while True:
        for which in set(range(1, workers + 1)) - set(running.values()):
            turn += 1
            running[start_worker(which, turn % 2)] = which
        del running[os.wait()[0]]


if sys.argv[5:]:
    be_worker(int(sys.argv[5]))
else:
    be_root()
