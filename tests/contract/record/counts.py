"""Counts, so that a test sees whether it still runs; with threads, some of them asleep."""
import sys
import threading
import time


def count():
    n = 0
    while True:
        n += 1
        if n % 100000 == 0:
            sys.stdout.write("%d\n" % n)
            sys.stdout.flush()


for _ in range(3):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
print("ready", flush=True)
count()
