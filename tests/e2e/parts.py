"""The parts that the e2e tests put together: a collector, an agent, targets; each a real process.

Every part is ended by its own pid when its `with` block ends.
"""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import requests

PYTHON = "/usr/bin/python3"


def wait_until(what, is_so, seconds=60, every=0.1):
    """The first true answer of is_so(); fails with `what` (a text, or a function that makes it) after
    so many seconds."""
    end = time.monotonic() + seconds
    while True:
        answer = is_so()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not in {seconds} s: {what() if callable(what) else what}")
        time.sleep(every)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def yaml(path, text):
    path.write_text(text)
    return path


class Process:
    """A program with its output in a file; ended by its pid."""

    def __init__(self, argv, log, **options):
        self.log_path = pathlib.Path(log)
        with open(log, "ab") as out:
            self.popen = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL,
                                          stdout=out, stderr=out, **options)

    @property
    def pid(self):
        return self.popen.pid

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def alive(self):
        return self.popen.poll() is None

    def kill(self, number=signal.SIGKILL, seconds=15):
        """Sends the signal and waits for the end; returns the exit status."""
        if self.alive():
            self.popen.send_signal(number)
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise AssertionError(f"{self.popen.args[0]} did not end within {seconds} s of signal "
                                 f"{number}:\n{self.log[-2000:]}") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.alive():
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(10)
        if self.alive():
            self.popen.kill()
            self.popen.wait()


class Collector:
    """podspy-collector on ports of its own; its data folder outlives it, so that it can be started
    again as often as a test wants."""

    def __init__(self, program, folder, settings=""):
        self.program, self.folder = program, pathlib.Path(folder)
        self.data = self.folder / "data"
        self.https, self.http = free_port(), free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config = yaml(self.folder / "collector.yaml", f"""
listen: {{https: "127.0.0.1:{self.https}", http: "127.0.0.1:{self.http}"}}
store: {{kind: sqlite, dir: "{self.data}"}}
{settings}
""")
        self.process = None

    @property
    def url(self):
        return f"https://127.0.0.1:{self.https}"

    @property
    def ca(self):
        return self.data / "ca.pem"

    def token(self, role):
        return (self.data / f"{role}.token").read_text().strip()

    def start(self):
        self.process = Process([self.program, "--config", self.config],
                               self.folder / "collector.log")
        wait_until(lambda: "the collector is not ready: " + self.process.log[-2000:], self.ready)
        return self

    def ready(self):
        assert self.process.alive(), f"the collector ended: {self.process.log[-2000:]}"
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"http://127.0.0.1:{self.http}/readyz", timeout=20).ok
        return False

    def get(self, path, **params):
        """A query as from elsewhere: over TLS, checked against the authority, with the token."""
        return requests.get(self.url + path, params=params, verify=str(self.ca), timeout=20,
                            headers={"Authorization": f"Bearer {self.token('read')}"})

    def profile(self, **params):
        return self.get("/profiles", **params)

    def stacks(self, **params):
        """The collapsed stacks: {"frame;frame": samples}; {} where there is nothing yet."""
        params.setdefault("from", "-1h")
        answer = self.profile(format="collapsed", **params)
        if answer.status_code == 404:
            return {}
        assert answer.ok, answer.text
        return collapsed(answer.text)

    def samples(self, **params):
        """All samples that are stored, also those that waited."""
        return sum(self.stacks(idle=1, **params).values())

    def processes(self, **params):
        """What GET /pods lists, one dictionary a process, with its pod's and container's fields."""
        params.setdefault("from", "-1h")
        answer = self.get("/pods", **params)
        if answer.status_code == 404:
            return []
        assert answer.ok, answer.text
        return flat(answer.json())

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process:
            self.process.__exit__()


class Agent:
    """podspy agent with a spool of its own. rules are YAML for discovery.processes."""

    def __init__(self, program, folder, collector, rules, *, rate=100, interval="1s", budget=50,
                 blocking="auto", token_file=None, docker="off"):
        self.program, self.folder = program, pathlib.Path(folder)
        self.spool = self.folder / "spool"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config = yaml(self.folder / "agent.yaml", f"""
collector:
  url: "{collector.url}"
  ca_file: "{collector.ca}"
  token_file: "{token_file or collector.data / 'ingest.token'}"
sampling: {{rate: {rate}, blocking: {blocking}}}
budget: {{cpu_percent: {budget}}}
discovery:
  kubernetes: off
  docker: {docker}
  processes: {rules}
push: {{interval: {interval}, spool_dir: "{self.spool}"}}
""")
        self.process = None

    def start(self):
        started = self.log.count("podspy agent started")
        self.process = Process([self.program, "agent", "--config", self.config],
                               self.folder / "agent.log")
        wait_until(lambda: "the agent starts: " + self.log, lambda: not self.process.alive() or
                   self.log.count("podspy agent started") > started)
        assert self.process.alive(), f"the agent ended: {self.process.popen.poll()} {self.log}"
        return self

    def spooled(self):
        return sorted(self.spool.glob("*.window"))

    def stop(self):
        status = self.process.kill(signal.SIGINT)
        assert status == 0, f"the agent ended with {status}: {self.process.log[-2000:]}"

    @property
    def log(self):
        path = self.folder / "agent.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process:
            self.process.__exit__()


def collapsed(text):
    stacks = {}
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        stacks[stack] = stacks.get(stack, 0) + int(count)
    return stacks


def flat(pods):
    """The answer of /pods as one dictionary a process."""
    def fields(of):
        return {k: v for k, v in of.items() if not isinstance(v, list)}
    return [{**fields(pod), **fields(container), **process}
            for pod in pods["pods"] for container in pod["containers"]
            for process in container["processes"]]


def target(code, folder, name="target", **options):
    """A Python program of its own from source text, kept in a file, so that frames have a name."""
    path = pathlib.Path(folder) / f"{name}.py"
    path.write_text(code)
    return Process([options.pop("python", PYTHON), path, *options.pop("args", [])],
                   path.with_suffix(".log"), **options)


def thread_states(pid):
    """The state letters of all threads; "" where the process is gone."""
    states = ""
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            states += path.read_text().rpartition(")")[2].split()[0]
    return states


def children(pid):
    with contextlib.suppress(OSError):
        return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def descendants(pid):
    found = children(pid)
    return found + [g for c in found for g in descendants(c)]


def is_root():
    return os.geteuid() == 0


def say(text):
    print(text, file=sys.stderr)
