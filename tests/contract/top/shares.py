"""Two threads that spend three quarters of their time in three() and one in one(), and a thread that sleeps.

With an argument, names that would disturb a terminal: escapes, line ends, wide and invalid characters.
"""

import sys
import threading
import time

HOSTILE = {"co_name": "\x1b[31m\nevil\u202e\ud800\u754c\u754c" + "\U0001f40d" * 60,
           "co_filename": "/x/\x1b]0;owned\x07/\x9b2J\u754c.py"}


def spin(n):
    x = 0
    for i in range(n):
        x += i * i
    return x


def spin_more(n):
    x = 0
    for i in range(n):
        x += i * i
    return x


def three():
    spin(30000)


def one():
    spin_more(10000)


def work():
    while True:
        three()
        one()


def sleep():
    time.sleep(600)


if sys.argv[1:] == ["hostile"]:
    for f in (spin, spin_more):
        more = {"co_qualname": HOSTILE["co_name"]} if hasattr(f.__code__, "co_qualname") else {}
        f.__code__ = f.__code__.replace(**HOSTILE, **more)
threading.Thread(target=work, name="worker", daemon=True).start()
threading.Thread(target=sleep, name="sleeper", daemon=True).start()
print("ready", flush=True)
work()
