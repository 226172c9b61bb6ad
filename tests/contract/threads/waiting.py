"""A program of many threads that wait, and a few that work: waiting.py WAITING [WORKING BEFORE AND AFTER]."""

import sys
import threading
import time

threading.stack_size(131072)
for_ever = threading.Event()
N = int(sys.argv[1])
WORKING = int(sys.argv[2]) if len(sys.argv) > 2 else 0


def wait_for_ever():
    for_ever.wait()


def work_and_rest():
    while True:
        end = time.perf_counter() + 0.002
        while time.perf_counter() < end:
            pass
        time.sleep(0.02)


def start(n, what):
    for _ in range(n):
        thread = threading.Thread(target=what)
        thread.daemon = True
        thread.start()


start(WORKING, work_and_rest)
start(N, wait_for_ever)
start(WORKING, work_and_rest)
sys.stdout.write("ready\n")
sys.stdout.flush()
wait_for_ever()
