"""Spends its CPU time 70 to 30 between two functions, and says how it really came out."""
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
    print("%d %d" % (spent["seventy"], spent["thirty"]), flush=True)


def main():
    signal.signal(signal.SIGUSR1, say)
    print("ready", flush=True)
    while True:
        a = time.thread_time_ns()
        seventy()
        b = time.thread_time_ns()
        thirty()
        c = time.thread_time_ns()
        spent["seventy"] += b - a
        spent["thirty"] += c - b


main()
