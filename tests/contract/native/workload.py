"""workload.py MODULE: spends half of its time in native code below a Python function that native code calls, three tenths
in native code that Python calls, and the rest in Python. For each line on its input it prints how much CPU time each took
until then, by the clock of the thread.
"""
import importlib
import json
import os
import select
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
native = importlib.import_module(sys.argv[1])


def clock():
    """Of the time that this thread has had a CPU: a function that says it in seconds. 2.7 has none of its own."""
    if hasattr(time, "clock_gettime"):
        return lambda: time.clock_gettime(3)  # CLOCK_THREAD_CPUTIME_ID
    import ctypes

    class timespec(ctypes.Structure):
        _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]

    now, call = timespec(), ctypes.CDLL(None).clock_gettime

    def cpu_time():
        call(3, ctypes.byref(now))
        return now.s + now.ns / 1e9

    return cpu_time


cpu_time = clock()


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
