"""Sleeps, and works for a millisecond and a half in between; another thread sleeps for good."""
import threading
import time


def burst(until):
    while time.perf_counter() < until:
        pass


threading.Thread(target=threading.Event().wait, daemon=True).start()
print("ready", flush=True)
while True:
    time.sleep(0.03)
    burst(time.perf_counter() + 0.0015)
