"""A program in its steady state: one thread computes over a deep stack, three sleep."""
import threading
import time


def work(n):
    if n:
        return work(n - 1)
    s = 0
    for i in range(20000):
        s += i
    return s


for _ in range(3):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
print("ready", flush=True)
while True:
    work(20)
