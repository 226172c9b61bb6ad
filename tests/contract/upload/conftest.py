import socket
import subprocess
import threading
import time

import pytest

import collector_double


class Driver:
    """upload-driver under a test: see driver.c."""

    def __init__(self, program, before=(), **options):
        self.log = []
        self.process = subprocess.Popen(
            [*before, program, *(f"{k}={v}" for k, v in options.items())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.reader = threading.Thread(target=self._read_log, daemon=True)
        self.reader.start()
        self.started = self.process.stdout.readline().strip()

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def window(self, pid=1, samples=10):
        answer = self.ask(f"window {pid} {samples}")
        assert answer.startswith("window "), answer
        return answer.split()[1]

    def flush(self, seconds=60):
        return self.ask(f"flush {seconds}")

    def metric(self, name):
        return int(self.ask(f"metric {name}").split()[1])

    def wait_log(self, text, seconds=60):
        end = time.monotonic() + seconds
        while not any(text in line for line in self.log):
            assert time.monotonic() < end, f"no {text!r} in {self.log}"
            time.sleep(0.02)

    def quit(self):
        if self.process.poll() is None:
            answer = self.ask("quit")
            assert answer == "bye"
            assert self.process.wait(60) == 0, self.log
        self.reader.join(5)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.reader.join(5)


@pytest.fixture
def authority(tmp_path):
    return collector_double.Authority(tmp_path, "ca")


@pytest.fixture
def double(authority):
    d = collector_double.Double(authority.issue())
    yield d
    d.close()


@pytest.fixture
def start(program, tmp_path, authority):
    """start(url, **options) starts a driver; it is ended by the test's end and must end well."""
    drivers = []

    def begin(url, **options):
        defaults = {"ca": authority.path, "dir": tmp_path / "spool"}
        d = Driver(program("upload-driver"), url=url, **{**defaults, **options})
        drivers.append(d)
        return d

    yield begin
    for d in drivers:
        try:
            d.quit()
        finally:
            d.kill()


@pytest.fixture
def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def windows(tmp_path):
    """How many windows wait in the spool."""
    return lambda: len(list((tmp_path / "spool").glob("*.window")))
