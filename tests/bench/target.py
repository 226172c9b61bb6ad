"""Stays busy at a given depth of the stack: target.py DEPTH. Says "ready" once it is there.

Runs on every Python there is, so it is written in what they have in common.
"""

import sys


def busy():
    n = 0
    while True:
        n = (n + 1) % 1000003


def descend(left):
    if left > 0:
        return descend(left - 1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    return busy()


depth = int(sys.argv[1])
sys.setrecursionlimit(depth + 200)
descend(depth - 3)  # the module, the innermost descend and busy are three more
