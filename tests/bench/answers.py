#!/usr/bin/python3
"""How large and how slow the collector's answers are:

    build/bench/bin/bench_store fill FOLDER                   an hour of 50 processes: 18,000 windows
    build/bench/bin/bench_store fill DAY 100 8640             a day of 100 pods: 864,000 windows
    tests/bench/answers.py FOLDER podspy-collector [OTHER-podspy-collector ...]
    tests/bench/answers.py --day DAY podspy-collector ...
    tests/bench/answers.py --crowd 16 FOLDER podspy-collector ...

Each collector answers from a copy of the folder over its plain listener, once its windows are rolled
up. A row has the status, the bytes on the wire, the seconds by the clock (median and 95th
percentile), the collector's CPU a question in ms, and the load of the machine. --day asks for 24
hours of everything. --crowd lets so many clients ask for everything at once, and prints the statuses,
the peak of the memory, and the memory a minute later.
"""

import argparse
import collections
import concurrent.futures
import http.client
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

SERVICE, EVERYTHING = "pod=service-3-*&", ""
QUESTIONS = [(f"/profiles?{which}format={form}&idle=1&from=-6h", coding)
             for which in (SERVICE, EVERYTHING) for form in ("json", "svg", "compact")
             for coding in ("identity", "gzip", "zstd")]
QUESTIONS += [(path, "identity")
              for path in ("/profiles/diff?format=json&idle=1&from=-6h&pod=service-3-3&base.pod=service-3-13",
                           "/profiles?format=svg&idle=1&from=-6h&max_nodes=100000", "/top?from=-6h",
                           "/pods?from=-6h", "/timeline?from=-6h")]
DAY = [(f"/profiles?format={form}&idle=1&from=-25h", "identity") for form in ("json", "svg", "compact")]


def start(program, data):
    p = subprocess.Popen([program, "--data", data, "--listen", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"],
                         stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and p.poll() is None:
        try:
            ports = json.loads((data / "ports.json").read_text())
            if ports["pid"] == p.pid:
                return p, ports["http"]
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{program} did not start")


def ask(port, path, coding):
    began = time.monotonic()
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    c.request("GET", path, headers={"Accept-Encoding": coding})
    answer = c.getresponse()
    size = len(answer.read())
    c.close()
    return answer.status, size, time.monotonic() - began


def memory_mib(pid, which):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(l for l in status.splitlines() if l.startswith(which)).split()[1]) / 1024


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until_idle(pid):
    """Rolling up begins with the program; it is over when five seconds cost next to nothing."""
    before = -1.0
    while cpu_seconds(pid) - before > 0.1:
        before = cpu_seconds(pid)
        time.sleep(5)


def percentile(times, share):
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def print_questions(pid, port, questions, rounds):
    for path, coding in questions:
        cpu = cpu_seconds(pid)
        got = [ask(port, path, coding) for _ in range(rounds)]
        cpu = (cpu_seconds(pid) - cpu) / rounds
        times = [seconds for _, _, seconds in got]
        print(f"{path:88} {coding:9} {got[0][0]} {got[0][1]:9} bytes  {statistics.median(times):7.3f} "
              f"{percentile(times, 0.95):7.3f} s  {cpu * 1e3:6.0f} ms  load {os.getloadavg()[0]:.1f}", flush=True)


def print_crowd(pid, port, clients):
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        got = list(pool.map(lambda _: ask(port, QUESTIONS[9][0], "identity"), range(clients)))
    peak = memory_mib(pid, "VmHWM:")
    time.sleep(60)
    print(f"{clients} ask for everything at once: {dict(collections.Counter(status for status, _, _ in got))}, "
          f"the last after {max(seconds for _, _, seconds in got):.1f} s; memory {peak:.0f} MiB at most, "
          f"{memory_mib(pid, 'VmRSS:'):.0f} a minute later", flush=True)


def measure(program, options):
    with tempfile.TemporaryDirectory() as scratch:
        data = pathlib.Path(scratch) / "data"
        shutil.copytree(options.day or options.folder, data)
        data.chmod(0o700)
        p, port = start(program, data)
        try:
            wait_until_idle(p.pid)
            if options.crowd:
                print_crowd(p.pid, port, options.crowd)
            else:
                print_questions(p.pid, port, DAY if options.day else QUESTIONS, options.rounds)
                print(f"peak of its memory: {memory_mib(p.pid, 'VmHWM:'):.0f} MiB; load {os.getloadavg()[0]:.1f}")
        finally:
            p.terminate()
            p.wait(60)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--day", metavar="FOLDER")
    parser.add_argument("--crowd", type=int, metavar="CLIENTS")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("paths", nargs="+", metavar="FOLDER|PROGRAM")
    options = parser.parse_args()
    options.folder = None if options.day else options.paths.pop(0)
    if not options.paths:
        parser.error("which podspy-collector?")
    return options


if __name__ == "__main__":
    chosen = parse_options()
    for each in chosen.paths:
        print(each)
        measure(each, chosen)
