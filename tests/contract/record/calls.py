"""A program of short calls, so that each read of it is torn, with idle threads, and signals.

It says when it is ready, and answers SIGUSR1, SIGUSR2, SIGALRM and a real-time signal each with the
signal's number and the time.
"""

import os
import signal
import struct
import sys
import threading
import time


class Point:
    def __init__(self, x):
        self.x = x


def leaf(p):
    return p.x + 1


def work():
    while True:
        for i in range(20):
            leaf(Point(i))


def answer(number, frame):
    os.write(1, struct.pack("=id", number, time.monotonic()))


def descend(n):
    return descend(n - 1) if n else work()


for name in ("SIGUSR1", "SIGUSR2", "SIGALRM", "SIGRTMIN"):
    signal.signal(getattr(signal, name), answer)
for _ in range(3):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
sys.stdout.write("ready\n")
sys.stdout.flush()
descend(15)
