"""Works for some milliseconds and sleeps for some, again and again, as a web service does.

bias_target.py WORK_MS SLEEP_MS [THREADS]: prints ready, then runs until it is ended.
"""
import sys
import threading
import time

WORK, SLEEP = float(sys.argv[1]) / 1e3, float(sys.argv[2]) / 1e3
THREADS = int(sys.argv[3]) if len(sys.argv) > 3 else 1


def work():
    end = time.perf_counter() + WORK
    while time.perf_counter() < end:
        pass


def serve():
    while True:
        work()
        time.sleep(SLEEP)


for _ in range(THREADS - 1):
    threading.Thread(target=serve, daemon=True).start()
sys.stdout.write("ready\n")
sys.stdout.flush()
serve()
