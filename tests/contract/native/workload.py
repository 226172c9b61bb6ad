"""workload.py MODULE: spends half of its time in native code below a Python function that native code calls, three tenths
in native code that Python calls, and the rest in Python. For each line on its input it prints how much CPU time each took
until then, by the clock of the thread.
"""
import ctypes
import importlib
import json
import os
import select
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
native = importlib.import_module(sys.argv[1])


class timespec(ctypes.Structure):
    _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]


def cpu_time(now=timespec(), clock=ctypes.CDLL(None).clock_gettime):
    clock(3, ctypes.byref(now))  # CLOCK_THREAD_CPUTIME_ID
    return now.s + now.ns / 1e9


def leaf(n):
    native.spin_leaf(n)


def work(counts):
    native.call_back(leaf, counts[0])


def direct(counts):
    native.spin_direct(counts[1])


def interpret(counts):
    for i in range(counts[2]):
        i * 3


def time_of(part, counts):
    start = cpu_time()
    part(counts)
    return cpu_time() - start


# How often each part counts: for 50, 30 and 20 of a hundred parts of 20 ms.
PARTS = ((work, 0.010), (direct, 0.006), (interpret, 0.004))
counts = [20000, 20000, 20000]
for _ in range(5):
    for i, (part, seconds) in enumerate(PARTS):
        counts[i] = int(min(max(counts[i] * seconds / max(time_of(part, counts), 1e-6), 1000), 1e8))
spent = [0.0, 0.0, 0.0]
sys.stdout.write("ready\n")
sys.stdout.flush()
while True:
    for i, (part, _) in enumerate(PARTS):
        spent[i] += time_of(part, counts)
    if select.select([sys.stdin], [], [], 0)[0] and os.read(0, 1):
        sys.stdout.write(json.dumps(spent) + "\n")
        sys.stdout.flush()
