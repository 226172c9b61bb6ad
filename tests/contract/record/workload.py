"""Spends its CPU time 70 to 30 between two functions, and says how it really came out."""
import os
import signal
import time

spent = {"seventy": 0, "thirty": 0}


def burn(ns):
    end = time.thread_time_ns() + ns
    while time.thread_time_ns() < end:
        for _ in range(50):
            pass


def seventy():
    burn(700_000)


def thirty():
    burn(300_000)


def say(*_):
    # print cannot be interrupted by itself, and a signal can come at once.
    os.write(1, b"%d %d\n" % (spent["seventy"], spent["thirty"]))


def main():
    signal.signal(signal.SIGUSR1, say)
    os.write(1, b"ready\n")
    while True:
        a = time.thread_time_ns()
        seventy()
        b = time.thread_time_ns()
        thirty()
        c = time.thread_time_ns()
        spent["seventy"] += b - a
        spent["thirty"] += c - b


main()
