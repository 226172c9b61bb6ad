"""Forks N children that each spin a little and sleep, prints their pids; ends with its stdin."""
import os
import sys
import threading
import time


def child():
    parent = os.getppid()
    threading.Thread(target=watch, args=(parent,), daemon=True).start()
    while True:
        spin()
        time.sleep(0.05)


def spin():
    for _ in range(2000):
        pass


def watch(parent):
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


pids = []
for _ in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        sys.stdin.close()
        child()
    pids.append(pid)
print(*pids, flush=True)
sys.stdin.read()
for pid in pids:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        pass
