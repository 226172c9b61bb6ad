"""Stays busy at a given depth of the stack: target.py DEPTH [short]. Says "ready" once it is there.

short: it goes through its calls in a microsecond each, so that every read of the running thread is torn.

Runs on every Python there is, so it is written in what they have in common.
"""

import sys


def busy():
    n = 0
    while True:
        n = (n + 1) % 1000003


class Point:
    def __init__(self, x):
        self.x = x


def leaf(p):
    return p.x + 1


def short():
    while True:
        for i in range(20):
            leaf(Point(i))


def descend(left):
    if left > 0:
        return descend(left - 1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    return short() if sys.argv[2:] == ["short"] else busy()


depth = int(sys.argv[1])
sys.setrecursionlimit(depth + 200)
descend(depth - 3)  # the module, the innermost descend and busy are three more
