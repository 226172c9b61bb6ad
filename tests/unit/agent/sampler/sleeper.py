"""Two threads that sleep; the first works for a third of a second for each line it reads."""
import sys
import threading
import time


def work(until):
    while time.monotonic() < until:
        pass


threading.Thread(target=threading.Event().wait, daemon=True).start()
print("ready", flush=True)
for _ in sys.stdin:
    work(time.monotonic() + 0.3)
    print("done", flush=True)
