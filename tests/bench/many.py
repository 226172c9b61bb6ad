#!/usr/bin/python3
"""What an agent costs that samples many processes: its CPU and its memory, beside what they may be.

Starts small Python services, most of them asleep, some that work for a twentieth of their time and
wake up a hundred times a second, and runs podspy agent on all of them, opted in by a rule. Its
uploads go nowhere: it keeps the windows, as it does while a collector is away.

Then the same with fewer processes whose threads all work, as fast as the lock lets them, through
calls of a microsecond.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
LIMIT_PERCENT, LIMIT_MIB = 5.0, 48.0
CONFIG = """\
collector: {url: "http://127.0.0.1:9"}
sampling: {rate: %d}
budget: {cpu_percent: 100}
push: {spool_dir: "%s"}
discovery:
  kubernetes: off
  docker: off
  processes:
    - {name: many, cmdline: "many_target"}
"""
TARGET = """\
import sys, threading, time
def wait(): threading.Event().wait()
def spin(until):
    while time.perf_counter() < until: sum(range(50))
def work():
    while True:
        spin(time.perf_counter() + 0.0005)
        time.sleep(0.0095)
def deep(n, f): return deep(n - 1, f) if n else f()
threading.Thread(target=wait, daemon=True).start()
sys.stdout.write("ready\\n"); sys.stdout.flush()
deep(12, work if sys.argv[1] == "work" else wait)
"""
BUSY = """\
import sys, threading
class Point:
    def __init__(self, x): self.x = x
def leaf(p): return p.x + 1
def work():
    while True:
        for i in range(20): leaf(Point(i))
def deep(n): return deep(n - 1) if n else work()
for _ in range(int(sys.argv[1]) - 1): threading.Thread(target=deep, args=(12,), daemon=True).start()
sys.stdout.write("ready\\n"); sys.stdout.flush()
deep(12)
"""


def start(folder, python, text, arguments):
    """One process for each argument."""
    program = folder / "many_target.py"
    program.write_text(text)
    started = [subprocess.Popen([python, "-S", program, str(a)], stdout=subprocess.PIPE) for a in arguments]
    for p in started:
        assert p.stdout.readline() == b"ready\n"
    return started


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


def measure(options, folder):
    config = folder / "agent.yaml"
    config.write_text(CONFIG % (options.rate, folder / "spool"))
    with open(folder / "log", "wb") as log:
        agent = subprocess.Popen([options.build / "bin" / "podspy", "agent", "--config", config],
                                 stdout=log, stderr=log)
    try:
        time.sleep(options.settle)
        if agent.poll() is not None:
            raise SystemExit((folder / "log").read_text()[-1000:])
        before, since = cpu_seconds(agent.pid), time.monotonic()
        time.sleep(options.seconds)
        percent = 100 * (cpu_seconds(agent.pid) - before) / (time.monotonic() - since)
        return percent, memory_mib(agent.pid)
    finally:
        agent.terminate()
        agent.wait()


def sampled(options, text, arguments):
    """(CPU in percent of a core, MiB) of an agent that samples such processes."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        started = []
        try:
            started = start(folder, options.python, text, arguments)
            return measure(options, folder)
        finally:
            for p in started:
                p.kill()
            for p in started:
                p.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build folder")
    parser.add_argument("--python", default="/usr/bin/python3")
    parser.add_argument("--sleeping", type=int, default=190)
    parser.add_argument("--working", type=int, default=10)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--settle", type=float, default=15, help="seconds before measuring")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--busy", type=int, default=8, help="processes all of whose threads work")
    parser.add_argument("--threads", type=int, default=4, help="of each of these")
    options = parser.parse_args()
    resting = ["work"] * options.working + ["sleep"] * options.sleeping
    percent, mib = sampled(options, TARGET, resting)
    print(f"{options.sleeping} sleeping and {options.working} working processes of two threads at "
          f"{options.rate} Hz, load {os.getloadavg()[0]:.1f}:")
    print(f"    CPU {percent:.1f} % of a core (limit {LIMIT_PERCENT:g})")
    print(f"    memory {mib:.1f} MiB (limit {LIMIT_MIB:g})", flush=True)
    wrong = percent > LIMIT_PERCENT or mib > LIMIT_MIB
    percent, mib = sampled(options, BUSY, [options.threads] * options.busy)
    print(f"{options.busy * options.threads} busy threads in {options.busy} processes at {options.rate} Hz, "
          f"load {os.getloadavg()[0]:.1f}:")
    print(f"    CPU {percent:.1f} % of a core, memory {mib:.1f} MiB")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
