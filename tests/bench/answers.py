#!/usr/bin/python3
"""How large and how slow the collector's answers are:

    build/release/bin/bench_store fill FOLDER
    tests/bench/answers.py FOLDER podspy-collector [OTHER-podspy-collector ...]

Each collector answers from a copy of the folder over its plain listener: each format, with and without
compression. Printed are bytes on the wire, seconds (the median of three) and the load of the machine.
"""

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

ROUNDS = 3
QUESTIONS = [(path, coding)
             for path in ("/profiles?format=svg&idle=1&from=-2h", "/profiles?format=json&idle=1&from=-2h",
                          "/profiles?format=svg&idle=1&from=-2h&max_nodes=100000",
                          "/top?from=-2h", "/pods?from=-2h")
             for coding in ("identity", "gzip", "zstd")]


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


def peak_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(l for l in status.splitlines() if l.startswith("VmHWM:")).split()[1]) / 1024


def measure(program, folder):
    with tempfile.TemporaryDirectory() as scratch:
        data = pathlib.Path(scratch) / "data"
        shutil.copytree(folder, data)
        data.chmod(0o700)
        p, port = start(program, data)
        try:
            for path, coding in QUESTIONS:
                got = [ask(port, path, coding) for _ in range(ROUNDS)]
                print(f"{path:60} {coding:9} {got[0][0]} {got[0][1]:10} bytes "
                      f"{statistics.median(t for _, _, t in got):7.2f} s")
            print(f"peak of its memory: {peak_mib(p.pid):.0f} MiB; load {os.getloadavg()[0]:.1f}")
        finally:
            p.terminate()
            p.wait(60)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    for each in sys.argv[2:]:
        print(each)
        measure(each, sys.argv[1])
