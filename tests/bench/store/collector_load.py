#!/usr/bin/python3
"""What pushed windows cost a collector: CPU, acknowledgements, memory, bytes on the disk.

Starts a podspy-collector on a folder of its own for each row, pushes windows that were made before the
clock started (push_windows.c), and prints what the kernel counted for the collector. Generator and
collector share the machine. A row of a window is one stack of one thread in one state.
"""

import argparse
import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

ROWS = 200  # of a window
TARGETS = {"us_a_row": 5.0, "rows_a_second": 200000, "p99_paced_ms": 25.0, "p99_full_ms": 500.0,
           "rss_mib": 256.0, "bytes_a_row": 6.0}
CONFIG = """\
listen: {https: "127.0.0.1:0", http: "127.0.0.1:0"}
store: {dir: "%s"}
retention: {raw: %s, minutes: 7d, hours: 90d}
limits: {agent_mib_per_minute: 0, connections_per_ip: 4096}
"""
TICK = os.sysconf("SC_CLK_TCK")


class Collector:
    def __init__(self, build, folder, raw="24h"):
        self.folder = folder
        (folder / "collector.yaml").write_text(CONFIG % (folder, raw))
        self.log = open(folder / "collector.log", "w")
        (folder / "ports.json").unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [build / "bin" / "podspy-collector", "--config", folder / "collector.yaml"],
            stdout=self.log, stderr=self.log)
        end = time.monotonic() + 60
        while not (folder / "ports.json").exists():
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit((folder / "collector.log").read_text())
            time.sleep(0.02)
        self.ports = json.loads((folder / "ports.json").read_text())

    def cpu(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def peak_mib(self):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
        self.log.close()


def push(build, collector, **options):
    """The generator's result, with the collector's CPU in seconds."""
    generator = subprocess.Popen(
        [build / "bin" / "push_windows", str(collector.ports["https"]), collector.folder / "ca.pem",
         collector.folder / "ingest.token", *(f"{key}={value}" for key, value in options.items())],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = generator.stderr.readline()
    before = collector.cpu()
    out, errors = generator.communicate(timeout=600)
    if generator.returncode:
        sys.exit(said + errors)
    got = json.loads(out)
    got["cpu"] = collector.cpu() - before
    return got


def size_of(folder):
    return sum(f.stat().st_size for f in folder.glob("podspy.db*"))


def row_of(build, name, options, scratch, perf=None):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="podspy-load-", dir=scratch))
    try:
        collector = Collector(build, folder)
        watch = perf and subprocess.Popen(["perf", "record", "-q", "--call-graph", "dwarf,4096",
                                           "-F", "99", "-o", perf, "-p",
                                           str(collector.process.pid)])
        got = push(build, collector, **options)
        if watch:
            watch.terminate()
            watch.wait()
        got["peak"] = collector.peak_mib()
        collector.stop()
        got["bytes"] = size_of(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = got["windows"] * ROWS
    print(f"  {name:34} {got['windows'] / got['seconds']:8.0f} {rows / got['seconds']:9.0f} "
          f"{got['p50_ms']:8.1f} {got['p99_ms']:8.1f} {got['cpu'] * 1e6 / rows:7.2f} "
          f"{got['peak']:6.0f} {got['bytes'] / rows:7.1f}   {os.getloadavg()[0]:.1f}"
          + (f"   {got['refused']} refused with {got['status']}" if got["refused"] else ""), flush=True)
    return got


def ask(folder, sql):
    db = sqlite3.connect(f"file:{folder / 'podspy.db'}?mode=ro", uri=True)
    try:
        return db.execute(sql).fetchone()
    finally:
        db.close()


def wait_for(folder, sql, what):
    end = time.monotonic() + 300
    while not ask(folder, sql)[0]:
        if time.monotonic() > end:
            sys.exit(f"the collector did not {what} in time")
        time.sleep(0.2)


def used_bytes(folder):
    pages, free = ask(folder, "SELECT * FROM pragma_page_count, pragma_freelist_count")
    return (pages - free) * 4096


def disk_rows(build, windows, processes, scratch):
    """Bytes on the disk: windows alone, with their roll-ups, and the roll-ups alone."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="podspy-load-", dir=scratch))
    rows = windows * ROWS
    try:
        collector = Collector(build, folder)
        push(build, collector, windows=windows, processes=processes, connections=16, a_request=10,
             encoding="zstd", start=int(time.time()) - 7200)
        collector.stop()
        alone = used_bytes(folder)
        samples = ask(folder, "SELECT sum(samples) FROM windows")[0]
        collector = Collector(build, folder)
        before = collector.cpu()
        wait_for(folder, "SELECT done >= (SELECT max(id) FROM windows) FROM levels WHERE level = 0", "roll up")
        cpu = collector.cpu() - before
        collector.stop()
        both = used_bytes(folder)
        collector = Collector(build, folder, raw="60s")
        wait_for(folder, "SELECT NOT EXISTS(SELECT 1 FROM windows)", "drop windows")
        time.sleep(2)
        collector.stop()
        print(f"  {windows} windows of {processes} processes, {samples} samples: {alone / rows:.1f} bytes a row, "
              f"{both / rows:.1f} with roll-ups (made in {cpu * 1e6 / rows:.2f} us of CPU a row), "
              f"{used_bytes(folder) / rows:.1f} once the windows expired")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--build", type=pathlib.Path, required=True, help="the build to measure")
    args.add_argument("--windows", type=int, default=4000, help="windows a row")
    args.add_argument("--seconds", type=int, default=20, help="of the paced row")
    args.add_argument("--disk-windows", type=int, default=18000, help="windows of the row about the disk")
    args.add_argument("--only", default="", help="rows whose name contains this")
    args.add_argument("--scratch", help="folder for the stores (default: the system's)")
    args.add_argument("--perf", help="record the collector of the rows into this file")
    a = args.parse_args()
    print(f"{os.cpu_count()} CPUs shared with the generator; load {os.getloadavg()[0]:.1f} before")
    print(f"  {'':34} {'win/s':>8} {'rows/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'us/row':>7} "
          f"{'RSS':>6} {'B/row':>7}   load")
    rows = [(f"{e}, {c} connections, {n} a request",
             {"encoding": e, "connections": c, "a_request": n, "windows": a.windows})
            for e in ("gzip", "zstd") for c in (200, 16) for n in (1, 10)]
    rows.append(("gzip, 25 windows/s paced", {"encoding": "gzip", "connections": 25, "pace": 25,
                                              "windows": 25 * a.seconds}))
    for name, options in rows:
        if a.only in name:
            row_of(a.build, name, options, a.scratch, a.perf)
    if a.only in "disk":
        disk_rows(a.build, a.disk_windows, 50, a.scratch)
    print("  targets: at most %(us_a_row).0f us a row, %(rows_a_second)d rows/s, p99 %(p99_paced_ms).0f ms "
          "paced and %(p99_full_ms).0f ms at full load,\n  %(rss_mib).0f MiB, %(bytes_a_row).0f bytes a row "
          "after roll-up" % TARGETS)


if __name__ == "__main__":
    main()
