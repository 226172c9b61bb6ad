"""What the rounds of test_faults.py share: a small disk, senders that keep account, and what a store holds."""

import ctypes
import email.utils
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time

import pytest
import requests

from collector import MAIN, Batch, Collector, labels

SAMPLES = 3  # of each profile


class Victim(Collector):
    """A collector that may be started with another environment, and on a disk that has no room for ports.json."""

    def __init__(self, path, data, *arguments, **more):
        self.env = {}
        super().__init__(path, data, *arguments, **more)

    def spawn(self):
        """Starts it and does not wait."""
        self.data.mkdir(exist_ok=True)
        self.said = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.path, "--data", self.data, "--listen", "127.0.0.1:0", "--listen-http", "127.0.0.1:0",
                 *self.arguments], stderr=log, env={**os.environ, **self.env})

    def wait_ready(self):
        """True once it is ready; False if it ended instead."""
        deadline = time.monotonic() + 60
        while not (ports := re.search(r"msg=listening.* https=(\d+) http=(\d+)", self.news())):
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < deadline, self.news()
            time.sleep(0.02)
        self.https, self.http = int(ports[1]), int(ports[2])
        return True

    def start(self):
        self.spawn()
        assert self.wait_ready(), self.news()

    def news(self):
        """Its log since the last start."""
        return self.log.read_bytes()[self.said:].decode()


class Ledger:
    """The acknowledged profiles: profile_id -> (its function, the end of its window)."""

    def __init__(self):
        self.acked, self.codes, self.hints, self.sent, self.lock = {}, {}, set(), 0, threading.Lock()

    def push(self, collector, windows, session=None, size=0):
        """One request; windows: when each ends, in seconds before now. size: bytes that nothing else has."""
        b, now, new = Batch(), time.time(), {}
        with self.lock:
            self.sent += 1
            name = f"batch_{self.sent}"
        for i, ago in enumerate(windows):
            stack = [MAIN, (f"{name}_{i}x" + os.urandom(size // 2).hex(), "/app/b.py", 1)]
            pid = b.add(labels(), [(stack, SAMPLES, "running", 1, "m")], start=now - ago - 10)
            new[pid] = (f"{name}_{i}", now - ago)
        body, code = b.bytes(), None
        for _ in range(3):  # what had no answer is sent again, as an agent does
            try:
                r = collector.push(body, session=session, Date=email.utils.formatdate(usegmt=True))
            except requests.RequestException:
                time.sleep(0.05)
                continue
            code = r.status_code
            break
        with self.lock:
            self.codes[code] = self.codes.get(code, 0) + 1
            if code == 200:
                self.acked.update(new)
            elif code:
                self.hints.add(r.json()["error"]["hint"])
        return code

    def younger_than(self, seconds):
        limit = time.time() - seconds
        return {i: name for i, (name, end) in self.acked.items() if end > limit}


class Senders:
    """Threads that push to a collector until they are stopped."""

    def __init__(self, collector, ledger, n=3, ago=1, size=0):
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(collector, ledger, ago, size)) for _ in range(n)]

    def _run(self, collector, ledger, ago, size):
        session = requests.Session()
        while not self.stop.is_set():
            if ledger.push(collector, [ago, ago], session, size) != 200:
                time.sleep(0.05)

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join()


def stored(data):
    """{profile_id: how often} of a store whose collector has ended, read from a copy; SQLite finds it whole."""
    with tempfile.TemporaryDirectory() as copy:
        for name in ("podspy.db", "podspy.db-wal"):
            if (pathlib.Path(data) / name).exists():
                shutil.copy(pathlib.Path(data) / name, copy)
        db = sqlite3.connect(f"{copy}/podspy.db")
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        ids = {}
        for (i,) in db.execute("SELECT profile_id FROM windows"):
            ids[bytes(i)] = ids.get(bytes(i), 0) + 1
        db.close()
    return ids


def answered(collector):
    """{function: samples} of everything in the collector."""
    r = collector.get("/profiles?format=collapsed&processes=0&from=-7d")
    assert r.status_code in (200, 404), r.text
    counts = {}
    for line in r.text.splitlines() if r.status_code == 200 else []:
        stack, count = line.rsplit(" ", 1)
        name = re.match(r"batch_\d+_\d+", stack.split(";")[-1])
        counts[name[0]] = counts.get(name[0], 0) + int(count)
    return counts


def size_on_disk(data):
    return sum(f.stat().st_size for f in pathlib.Path(data).glob("podspy.db*"))


class Disk:
    """A small filesystem, and a writer that keeps it full to the last byte. What is mounted is seen by
    this process and its children only, and gone with them."""

    def __init__(self, at, kind, mib=64):
        self.at, self.kind = pathlib.Path(at), kind
        self.at.mkdir()
        if ctypes.CDLL(None, use_errno=True).unshare(0x00020000):  # CLONE_NEWNS
            pytest.skip("no mount namespace can be made here")
        self._run("mount", "--make-rslave", "/")
        if kind == "tmpfs":
            self._run("mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", self.at)
        else:
            image = self.at.parent / f"{self.at.name}.img"
            with open(image, "wb") as f:
                f.truncate(mib << 20)
            self._run("mkfs.ext4", "-q", "-b", "4096", "-m", "0", image)  # 4096, as on disks of more than 512 MiB
            self._run("mount", "-o", "loop", image, self.at)
        self.full, self.stop, self.thread = threading.Event(), threading.Event(), None

    @staticmethod
    def _run(*command):
        try:
            r = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip(f"{command[0]} is not installed")
        if r.returncode:
            pytest.skip(f"nothing can be mounted here: {' '.join(r.stderr.split())}")

    def fill(self):
        self.full.clear()
        self.stop.clear()
        self.thread = threading.Thread(target=self._fill)
        self.thread.start()
        assert self.full.wait(60)

    def _fill(self):
        size = 1 << 20
        with open(self.at / "ballast", "ab", buffering=0) as f:
            while not self.stop.is_set():
                try:
                    f.write(bytes(size))
                except OSError:
                    if size == 1:
                        self.full.set()
                        time.sleep(0.001)
                    size = max(size // 2, 1)

    def free(self):
        if self.thread:
            self.stop.set()
            self.thread.join()
            self.thread = None
            (self.at / "ballast").unlink()

    def close(self):
        self.free()
        subprocess.run(["umount", self.at], check=True)
