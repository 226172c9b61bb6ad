"""agent/upload against the real podspy-collector, which is killed again and again."""

import glob
import os
import random
import subprocess
import threading
import time

import pytest
import requests


class Collector:
    """podspy-collector on one port and one data folder; it can be killed and started again."""

    def __init__(self, program, port, data):
        self.program, self.port, self.data = program, port, data
        self.url = f"https://127.0.0.1:{port}"
        self.ca, self.token = data / "ca.pem", data / "ingest.token"
        self.process, self.log = None, []

    def start(self, **environment):
        self.process = subprocess.Popen(
            [self.program, "--listen", f"127.0.0.1:{self.port}", "--listen-http", "off",
             "--data", self.data],
            stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
        self.log = []
        ready = threading.Event()

        def read(stream, log):
            for line in stream:
                log.append(line)
                if "listening" in line:
                    ready.set()
        threading.Thread(target=read, args=(self.process.stderr, self.log), daemon=True).start()
        assert ready.wait(20), self.log
        return self

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def samples(self, pid):
        """All samples of a process that the collector has."""
        read_token = (self.data / "read.token").read_text().strip()
        answer = requests.get(f"{self.url}/profiles", verify=str(self.ca), timeout=20,
                              headers={"Authorization": f"Bearer {read_token}"},
                              params={"pid": pid, "from": "-10m", "idle": "1",
                                      "format": "collapsed"})
        if answer.status_code == 404:
            return 0
        assert answer.status_code == 200, answer.text
        return sum(int(line.rsplit(" ", 1)[1]) for line in answer.text.splitlines())


@pytest.fixture
def collector(bin_dir, tmp_path, free_port):
    program = bin_dir / "podspy-collector"
    if not program.is_file():
        pytest.skip("podspy-collector is not built here")
    c = Collector(program, free_port, tmp_path / "data")
    c.start()
    yield c
    c.kill()


def test_sent_windows_are_in_the_collector(collector, start):
    d = start(collector.url, ca=collector.ca, token=collector.token)
    for n in range(1, 11):
        d.window(100 + n % 2, n)
    assert d.flush() == "flushed"
    assert collector.samples(100) == 2 + 4 + 6 + 8 + 10
    assert collector.samples(101) == 1 + 3 + 5 + 7 + 9


def test_a_wrong_token_is_refused_and_the_right_one_accepted(collector, start, tmp_path, windows):
    token = tmp_path / "token"
    token.write_text("0" * 64)
    d = start(collector.url, ca=collector.ca, token=token)
    d.window(100, 7)
    d.wait_log("refuses this agent")
    assert any("status=401" in line for line in d.log)
    assert windows() == 1 and collector.samples(100) == 0
    token.write_text(collector.token.read_text())
    assert d.flush() == "flushed"
    assert collector.samples(100) == 7


@pytest.mark.parametrize("error", ["-2d", "+3d", "+9d"])
def test_a_collector_whose_clock_is_wrong_loses_no_window(collector, start, windows, error):
    """By less than retention.minutes it takes them for late and stores them; else they wait."""
    library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    if not library:
        pytest.skip("libfaketime is not installed")
    collector.kill()
    collector.start(LD_PRELOAD=library[0], FAKETIME=error, FAKETIME_DONT_FAKE_MONOTONIC="1",
                    ASAN_OPTIONS="verify_asan_link_order=0")
    d = start(collector.url, ca=collector.ca, token=collector.token)
    for _ in range(5):
        d.window(100, 10)
    if error == "+3d":
        assert d.flush() == "flushed"
    else:
        d.wait_log("they wait in the spool")
        assert any("correct whichever is wrong" in line for line in d.log)
        assert windows() == 5
    assert d.metric('podspy_agent_upload_windows_total{result="rejected"}') == 0
    d.quit()
    collector.kill()
    collector.start()
    d = start(collector.url, ca=collector.ca, token=collector.token)
    assert d.flush() == "flushed"
    assert collector.samples(100) == 50


def test_a_collector_killed_under_load_has_every_window_once(collector, start):
    rng = random.Random(5)
    d = start(collector.url, ca=collector.ca, token=collector.token)
    taken = {pid: 0 for pid in (100, 101, 102)}
    for _ in range(6):
        collector.start() if collector.process.poll() is not None else None
        end = time.monotonic() + rng.uniform(0.2, 0.8)
        while time.monotonic() < end:
            pid, n = rng.choice(list(taken)), rng.randrange(1, 100)
            d.window(pid, n)
            taken[pid] += n
            if rng.random() < 0.05:
                d.flush(1)  # no long waits between tries
        collector.kill()
    collector.start()
    assert d.flush(60) == "flushed"
    assert {pid: collector.samples(pid) for pid in taken} == taken
    lost = d.metric("podspy_agent_upload_lost_samples_total")
    assert lost == 0
    sent = d.metric('podspy_agent_upload_windows_total{result="sent"}')
    assert sent > 50


def test_killing_agent_and_collector_loses_no_spooled_window(collector, start):
    rng = random.Random(6)
    taken = 0
    for _ in range(8):
        if collector.process.poll() is not None:
            collector.start()
        d = start(collector.url, ca=collector.ca, token=collector.token)
        end = time.monotonic() + rng.uniform(0.05, 0.4)
        while time.monotonic() < end:
            n = rng.randrange(1, 100)
            d.window(100, n)
            taken += n
        first, second = rng.sample([collector, d], 2)
        first.kill()
        if rng.random() < 0.5:
            second.kill()
        d.kill()
    if collector.process.poll() is not None:
        collector.start()
    d = start(collector.url, ca=collector.ca, token=collector.token)
    assert d.flush(60) == "flushed"
    assert collector.samples(100) == taken
