"""One thread holds the GIL for known times, while others wait for it.

    hogs.py c       the hog calls C code that keeps the GIL (ctypes.PyDLL, usleep), for 80 of 100 ms
    hogs.py python  the hog runs Python code all the time, the others a little, often
    hogs.py rlock   two threads contend for an RLock, nobody for the GIL
"""

import ctypes
import sys
import threading
import time

usleep = ctypes.PyDLL(None).usleep


def hog_in_c():
    while True:
        usleep(80000)
        time.sleep(0.02)


def hog_in_python():
    n = 0
    while True:
        for i in range(1000):
            n += i


def victim():
    while True:
        time.sleep(0.001)


def contend(lock=threading.RLock()):
    while True:
        with lock:
            time.sleep(0.01)


KINDS = {"c": [hog_in_c, victim, victim], "python": [hog_in_python, victim, victim],
         "rlock": [contend, contend]}
threads = [threading.Thread(target=f, name="%s-%d" % (f.__name__, i), daemon=True)
           for i, f in enumerate(KINDS[sys.argv[1]])]
for t in threads:
    t.start()
print('"ready"', flush=True)
time.sleep(600)
