#!/usr/bin/python3
"""Rounds of faults under load, on both stores: every acknowledged profile is there once, none is lost, none counts twice.

Senders push batches as agents do, each again until it is acknowledged, while a fault is made. When a round has ended,
everything that was sent in this and all earlier rounds is acknowledged, and the answers are compared with it. Needs root
(for the small file system) and, for its store, clickhouse-server. test_fault_rounds.py runs a round of each.
"""

import argparse
import collections
import contextlib
import email.utils
import os
import pathlib
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

import requests

import clickhouse
from collector import MAIN, Batch, labels
from faults import SAMPLES, Disk, Victim, answered, stored

SENDERS, ACKS = 4, 20  # profiles that are acknowledged before and after each fault, at least
PATIENCE = 180  # seconds until a batch must have been acknowledged


class Ledger:
    """What was sent: the name of each profile's function. All of it is acknowledged once the senders have ended."""

    def __init__(self):
        self.lock, self.n, self.acked, self.codes, self.tries = threading.Lock(), 0, {}, collections.Counter(), 0

    def new_batch(self, size):
        """Two profiles; size: bytes that nothing else has."""
        with self.lock:
            self.n += 1
            name = f"batch_{self.n}"
        b, ids = Batch(), {}
        for i in range(2):
            stack = [MAIN, (f"{name}_{i}x" + os.urandom(size // 2).hex(), "/app/b.py", 1)]
            ids[bytes(b.add(labels(), [(stack, SAMPLES, "running", 1, "m")], start=time.time() - 11))] = f"{name}_{i}"
        return b.bytes(), ids


class Sender(threading.Thread):
    """Pushes to the collectors in turn, each batch until `acks` collectors have acknowledged it."""

    def __init__(self, load):
        super().__init__(daemon=True)
        self.load, self.late = load, None

    def run(self):
        while not self.load.stop.is_set():
            body, ids = self.load.ledger.new_batch(self.load.size)
            end = time.monotonic() + PATIENCE
            for at in self.load.targets():
                while not self.push(at, body):
                    if time.monotonic() > end:
                        self.late = ids
                        return
                    time.sleep(0.03)
            with self.load.ledger.lock:
                self.load.ledger.acked.update(ids)

    def push(self, collector, body):
        ledger, code = self.load.ledger, None
        with contextlib.suppress(requests.RequestException, OSError):
            code = collector.push(body, Date=email.utils.formatdate(usegmt=True)).status_code
        with ledger.lock:
            ledger.tries += 1
            ledger.codes[code] += 1
        return code == 200


class Load:
    """Senders that run while the fault is made, and end when all that they sent is acknowledged."""

    def __init__(self, ledger, collectors, to_each=False, size=0):
        self.ledger, self.collectors, self.to_each, self.size = ledger, collectors, to_each, size
        self.stop, self.chance = threading.Event(), random.Random(ledger.n)
        self.senders = [Sender(self) for _ in range(SENDERS)]

    def targets(self):
        return self.chance.sample(self.collectors, len(self.collectors) if self.to_each else 1)

    def __enter__(self):
        for s in self.senders:
            s.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for s in self.senders:
            s.join()
        assert not (late := [s.late for s in self.senders if s.late]), f"not acknowledged in {PATIENCE} s: {late}"

    def wait(self, what, seconds=60):
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, dict(self.ledger.codes)
            time.sleep(0.01)

    def wait_acks(self):
        """Until ACKS more profiles are acknowledged."""
        n = len(self.ledger.acked) + ACKS
        self.wait(lambda: len(self.ledger.acked) >= n, PATIENCE)


# --- the two stores ---


class Sqlite:
    name = "sqlite"

    def __init__(self, path, folder, collectors=1):
        self.path = path
        self.collectors = [Victim(path, folder / f"data{i}") for i in range(collectors)]
        self.is_shared = False

    def crash(self, chance, _):
        v = chance.choice(self.collectors)
        v.kill()
        v.start()

    def stop_and_start(self):
        for v in self.collectors:
            assert v.stop() == 0, v.log.read_text()
            v.start()

    def tear(self, chance):
        v = self.collectors[0]
        v.kill()
        wal = v.data / "podspy.db-wal"
        tear_wal(wal, chance)
        tear_database(v.data / "podspy.db", wal, chance)
        v.start()

    def crash_while_full(self, n):
        if n % 2:
            self.collectors[0].kill()
            self.collectors[0].start()  # on the full disk

    def after_full(self):
        pass

    def check(self):
        """What only the files show: a store without damage, each profile id once."""
        for v in self.collectors:
            assert v.stop() == 0, v.log.read_text()
            r = subprocess.run([self.path, "--data", v.data, "check"], capture_output=True, text=True, timeout=300)
            assert r.returncode == 0, r.stdout + r.stderr
            assert set(stored(v.data).values()) <= {1}
            v.start()

    def close(self):
        for v in self.collectors:
            v.stop()


class ClickHouse:
    name = "clickhouse"

    def __init__(self, path, folder, collectors=1):
        self.server = clickhouse.Server(folder / "clickhouse")
        outside = pathlib.Path(tempfile.mkdtemp(prefix="podspy-rounds-"))  # the server's disk may be full
        self.outside = outside
        self.collectors = [Victim(path, outside / f"data{i}", config=self.server.store()) for i in range(collectors)]
        self.is_shared = True

    def crash(self, chance, n):
        if n % 2:
            self.server.kill()
            self.server.start()
            return
        v = chance.choice(self.collectors)
        v.kill()
        v.start()

    def stop_and_start(self):
        self.server.process.send_signal(signal.SIGTERM)
        self.server.process.wait(120)
        self.server.start()

    def tear(self, chance):
        self.server.kill()
        tear_part(self.server.folder / "data" / "data" / "podspy", chance)
        self.server.start()

    def crash_while_full(self, n):
        if n % 2:
            self.server.kill()

    def after_full(self):
        if self.server.process.poll() is not None:
            self.server.start()

    def check(self):
        pass

    def close(self):
        for v in self.collectors:
            v.stop()
        self.server.kill()
        shutil.rmtree(self.outside, ignore_errors=True)


# --- torn writes ---
#
# What a machine that loses its power leaves of a write that was not acknowledged: a page in part, behind all that was
# synced. What was synced is not touched: no store could bring that back.

FRAME = 24 + 4096


def frames_of(wal):
    """How many frames the WAL has, and their pages: those with its header's salt."""
    data = wal.read_bytes() if wal.exists() else b""
    salt, pages, at = data[16:24], [], 32
    while len(data) >= at + FRAME and data[at + 8:at + 16] == salt:
        pages.append(struct.unpack(">I", data[at:at + 4])[0])
        at += FRAME
    return data[:32], at, pages


def tear_wal(wal, chance):
    """A frame that was being written: its header and a part of its page; what was there before stays behind it, or the
    file ends."""
    head, end, pages = frames_of(wal)
    if len(head) < 32:
        return
    torn = struct.pack(">II", chance.choice(pages or [2]), chance.choice([0, 1000])) + head[16:24] + chance.randbytes(8)
    torn += chance.randbytes(chance.randrange(1, 4096))
    with open(wal, "r+b") as f:
        f.seek(end)
        f.write(torn[:chance.choice([8, 24, len(torn)])])
        if chance.random() < 0.3:
            f.truncate()


def tear_database(db, wal, chance):
    """The last page that was being written back from the WAL, which still has it."""
    _, _, pages = frames_of(wal)
    size = db.stat().st_size // 4096
    written = [p for p in pages if 1 < p <= size]
    if written:
        with open(db, "r+b") as f:
            f.seek((max(written) - 1) * 4096 + 512 * chance.randrange(1, 8))
            f.write(chance.randbytes(512))


def tear_part(tables, chance):
    """A part that was being written: a copy of the newest one, its files cut off, under the name that a part has until it
    is whole, or under the next number, where its checksums tell that it is not."""
    parts = [p for t in tables.iterdir() for p in t.iterdir() if re.fullmatch(r"\w+?_\d+_\d+_0", p.name)]
    part = max(parts, key=lambda p: p.stat().st_mtime_ns)
    day, _, last, _ = part.name.split("_")
    number = int(last) + 1000
    name = f"{day}_{number}_{number}_0"
    torn = part.with_name(chance.choice([name, "tmp_insert_" + name]))
    shutil.copytree(part, torn)
    files = sorted(f for f in torn.iterdir() if f.suffix in (".bin", ".mrk"))
    for f in files[chance.randrange(len(files)):]:
        with open(f, "r+b") as data:
            data.truncate(f.stat().st_size // 2)


# --- the faults ---


def kill(store, load, chance, n):
    load.wait_acks()
    time.sleep(chance.random() / 4)
    store.crash(chance, n)
    load.wait_acks()


def stop(store, load, chance, n):
    load.wait_acks()
    store.stop_and_start()
    load.wait_acks()


def tear(store, load, chance, n):
    load.wait_acks()
    time.sleep(chance.random() / 4)
    store.tear(chance)
    load.wait_acks()


def full(store, load, chance, n):
    disk, codes = store.disk, load.ledger.codes
    load.wait_acks()
    disk.fill()
    before = codes[503] + codes[507]
    load.wait(lambda: codes[503] + codes[507] > before + 3)
    store.crash_while_full(n)
    time.sleep(chance.random() / 4)
    disk.free()
    store.after_full()
    load.wait_acks()


def two(store, load, chance, n):
    """Each batch goes to both collectors; of some rounds one is killed."""
    load.wait_acks()
    if n % 2:
        store.crash(chance, 0)
    load.wait_acks()


FAULTS = {"kill": kill, "stop": stop, "tear": tear, "full": full, "two": two}
STORES = {"sqlite": Sqlite, "clickhouse": ClickHouse}


def compare(store, ledger):
    """{function: samples} of each collector against all that was acknowledged, which is all that was sent."""
    lost = twice = 0
    due = set(ledger.acked.values())
    for v in store.collectors:
        there = answered(v)
        lost += sum(there.get(name, 0) < SAMPLES for name in due)
        twice += sum(n > SAMPLES for n in there.values()) + len(set(there) - due)
    return lost, twice


@contextlib.contextmanager
def opened(kind, fault, path, folder):
    disk = Disk(folder / "disk", "tmpfs", 64 if kind == "sqlite" else 256) if fault == "full" else None
    store = STORES[kind](path, disk.at if disk else folder, 2 if fault == "two" else 1)
    store.disk = disk
    try:
        yield store
    finally:
        if disk:
            disk.free()
        store.close()
        if disk:
            disk.close()


def run(kind, fault, rounds, path, folder, say=print):
    """Returns how many profiles were acknowledged, lost and counted twice."""
    ledger, began, lost, twice = Ledger(), time.monotonic(), 0, 0
    with opened(kind, fault, path, pathlib.Path(folder)) as store:
        for n in range(rounds):
            size = 2000 if fault == "full" else 0
            with Load(ledger, store.collectors, to_each=fault == "two", size=size) as load:
                FAULTS[fault](store, load, random.Random(n), n)
            if n % 10 == 9 or n == rounds - 1:
                store.check()
            lost, twice = compare(store, ledger)
            if lost or twice:
                break
    codes = ", ".join(f"{v} x {k or 'no answer'}" for k, v in sorted(ledger.codes.items(), key=str))
    say(f"{kind} {fault}: {n + 1} rounds in {time.monotonic() - began:.0f} s: {len(ledger.acked)} profiles acknowledged, "
        f"{lost} lost, {twice} twice ({ledger.tries} pushes: {codes})")
    return len(ledger.acked), lost, twice


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--build", type=pathlib.Path, required=True)
    args.add_argument("--rounds", type=int, default=2)
    args.add_argument("--stores", default=",".join(STORES))
    args.add_argument("--faults", default=",".join(FAULTS))
    a = args.parse_args()
    bad = 0
    for kind in a.stores.split(","):
        for fault in a.faults.split(","):
            with tempfile.TemporaryDirectory(prefix="podspy-rounds-") as folder:
                _, lost, twice = run(kind, fault, a.rounds, a.build.resolve() / "bin" / "podspy-collector", folder,
                                     lambda line: print(line, flush=True))
                bad += lost + twice
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
