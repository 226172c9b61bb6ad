"""With all its connections taken the collector logs it, pauses, and continues when one ends."""

import os
import socket
import time

import pytest
import requests

from collector import Collector

LIMIT = 64


@pytest.fixture
def small(podspy_collector, tmp_path):
    """A collector that may have LIMIT files open."""
    wrapper = tmp_path / "small"
    wrapper.write_text(f"#!/bin/sh\nulimit -n {LIMIT}\nexec {podspy_collector} \"$@\"\n")
    wrapper.chmod(0o755)
    c = Collector(wrapper, tmp_path / "data")
    yield c
    assert c.stop() == 0, c.log.read_text()


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_low_limit_of_open_files_is_logged_at_the_start(small):
    assert "raise the limit of open files" in small.log.read_text()


def test_silent_connections_are_closed_early_when_nearly_all_are_taken(small):
    held = []
    try:
        while "connections of a listener are taken" not in small.log.read_text():
            held.append(socket.create_connection(("127.0.0.1", small.http), timeout=10, source_address=("127.0.0.2", 0)))
            assert len(held) < 2 * LIMIT
            time.sleep(0.02)
        began = time.monotonic()
        assert requests.get(f"http://127.0.0.1:{small.http}/healthz", timeout=60).text == "ok\n"
        assert time.monotonic() - began < 9, "not the 10 seconds that a client has otherwise"
    finally:
        for s in held:
            s.close()


@pytest.mark.parametrize("port", ["http", "https"])
def test_exhausted_connections_are_logged_and_use_no_cpu(small, port):
    address = ("127.0.0.1", getattr(small, port))
    held = [socket.create_connection(address, timeout=10) for _ in range(LIMIT + 36)]
    try:
        end = time.monotonic() + 60
        while "connections of a listener are taken" not in small.log.read_text():
            assert time.monotonic() < end, small.log.read_text()
            time.sleep(0.02)
        before, began = cpu_seconds(small.process.pid), time.monotonic()
        time.sleep(2)
        used, passed = cpu_seconds(small.process.pid) - before, time.monotonic() - began
        assert used < 0.1 * passed, "it waits, and does not try again and again"
        assert small.log.read_text().count("connections of a listener are taken") == 1
        # The other listener has connections of its own.
        other = small.url("/healthz") if port == "http" else f"http://127.0.0.1:{small.http}/healthz"
        assert requests.get(other, verify=small.ca, timeout=60).text == "ok\n"
    finally:
        for s in held:
            s.close()
    own = small.url("/healthz") if port == "https" else f"http://127.0.0.1:{small.http}/healthz"
    assert requests.get(own, verify=small.ca, timeout=30).text == "ok\n"
