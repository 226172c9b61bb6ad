"""Slow clients, many clients, signals, restarts."""

import contextlib
import os
import pathlib
import select
import socket
import subprocess
import threading
import time

import pytest

from collector import Batch, Collector, labels, usual_batch, usual_stacks

HEADER_SECS, SLACK = 10, 30  # SPY_HTTP_HEADER_SECS, and what a busy machine may add


def _until_closed(s, drip):
    """Sends a byte of drip every half second; returns how long the server accepted it."""
    began = time.monotonic()
    s.settimeout(0.5)
    try:
        for byte in drip:
            s.sendall(bytes([byte]))
            try:
                if s.recv(4096) == b"":
                    break
            except TimeoutError:
                pass
    except OSError:
        pass
    return time.monotonic() - began


HEAD = b"GET /pods HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"x" * 200


def _post_head(c, length):
    return (b"POST /v1development/profiles HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer " + c.token("ingest").encode() +
            b"\r\nContent-Type: application/x-protobuf\r\n"
            b"Content-Length: %d\r\n\r\n" % length)


def test_dripping_clients_are_disconnected(collector):
    """Headers over TLS, headers in plain, a handshake that never comes, a body: all at once."""
    times = {}

    def drip(name, s, data):
        times[name] = _until_closed(s, data)
        s.close()

    def plain(port):
        return socket.create_connection(("127.0.0.1", port), timeout=30)

    with_body = collector.raw()
    with_body.sendall(_post_head(collector, 100000))
    threads = [threading.Thread(target=drip, args=a) for a in (
        ("tls headers", collector.raw(), HEAD), ("plain headers", plain(collector.http), HEAD),
        ("handshake", plain(collector.https), b"\x16\x03\x01\x02" + b"\0" * 100),
        ("body", with_body, b"\0" * 200))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for name, seconds in times.items():
        assert seconds < HEADER_SECS + SLACK, (name, times)
    for name in ("tls headers", "plain headers", "body"):
        assert times[name] > HEADER_SECS - 1, (name, times)
    assert collector.metric("podspy_collector_http_cut_total") >= 3


def test_an_honest_slow_upload_is_accepted(collector):
    """12 seconds for a body, at several times the minimum rate."""
    body = usual_batch().bytes() + b"\x1a\x04" + b"\0" * 4  # an unknown field is ignored
    padding = 48 * 1024
    body += b"\x1a" + bytes([padding & 127 | 128, padding >> 7 & 127 | 128, padding >> 14])
    body += b"\0" * padding
    with collector.raw() as s:
        s.sendall(_post_head(collector, len(body)))
        step = len(body) // 24 + 1
        for at in range(0, len(body), step):
            s.sendall(body[at:at + step])
            time.sleep(0.5)
        assert s.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_connections_of_one_address_are_limited(new_collector):
    c = new_collector(config="limits: {connections_per_ip: 4}\n")
    held = [socket.create_connection(("127.0.0.1", c.http), timeout=60) for _ in range(12)]
    closed = set()
    end = time.monotonic() + 60
    while len(closed) < 8 and time.monotonic() < end:
        for s in select.select([s for s in held if s not in closed], [], [], 1)[0]:
            with contextlib.suppress(ConnectionResetError):
                assert s.recv(1) == b""
            closed.add(s)
    time.sleep(0.3)
    assert len(closed) == 8 and not select.select([s for s in held if s not in closed], [], [], 0)[0]
    for s in held:
        s.close()


def test_sigterm_lets_a_request_under_way_finish(collector):
    body = usual_batch().bytes()
    with collector.raw() as s:
        s.sendall(_post_head(collector, len(body)) + body[:100])
        time.sleep(0.3)
        stopping = threading.Thread(target=collector.stop)
        stopping.start()
        time.sleep(1)
        assert collector.process.poll() is None
        with socket.create_connection(("127.0.0.1", collector.http), timeout=1) as late:
            assert late.recv(1) == b""  # closed at once: its client asks another collector
        s.sendall(body[100:])
        answer = s.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200 ") and b"Connection: close" in answer
        stopping.join()
    assert collector.process.returncode == 0
    collector.start()
    assert collector.get("/profiles?pod=demo").json()["root"]["total"] == 100


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_an_idle_collector_at_once_with_0(collector, name):
    import signal
    idle = collector.raw()  # a connection without a request does not hold it up
    began = time.monotonic()
    collector.process.send_signal(getattr(signal, name))
    assert collector.process.wait(60) == 0
    assert time.monotonic() - began < 25  # of the 30 that a connection may hold it up
    assert not (collector.data / "ports.json").exists()
    idle.close()


def test_a_restart_keeps_authority_tokens_and_data(collector):
    files = ("ca.pem", "server.pem", "ingest.token", "read.token")
    assert collector.push(usual_batch().bytes()).status_code == 200
    before = [(collector.data / f).read_bytes() for f in files]
    assert collector.stop() == 0
    collector.start()
    assert [(collector.data / f).read_bytes() for f in files] == before
    assert collector.get("/profiles?pod=demo").json()["root"]["total"] == 100


def test_windows_older_than_retention_are_dropped(new_collector):
    c = new_collector(config="retention: {raw: 4h, minutes: 4h, hours: 4h}\n")
    b = Batch()
    b.add(labels(pod="young"), usual_stacks(), start=time.time() - 3600)
    b.add(labels(pod="old"), usual_stacks(), start=time.time() - 11000)
    assert c.push(b.bytes()).status_code == 200
    assert c.get("/profiles?pod=old&from=-4h").status_code == 200
    c.stop()
    (c.data.parent / f"{c.data.name}.yaml").write_text("retention: {raw: 2h, minutes: 2h, hours: 2h}\n")
    c.start()  # it looks at its start, and then once a minute
    deadline = time.monotonic() + 20
    while c.get("/profiles?pod=old&from=-4h").status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert c.get("/profiles?pod=old&from=-4h").status_code == 404
    assert c.get("/profiles?pod=young&from=-3h").status_code == 200


def test_a_server_certificate_of_another_authority_is_replaced(collector):
    collector.stop()
    (collector.data / "ca.pem").unlink()
    (collector.data / "ca.key").unlink()
    collector.start()
    assert collector.get("/pods").status_code == 200


def test_a_damaged_authority_is_an_error_with_a_remedy(collector, podspy_collector):
    collector.stop()
    (collector.data / "ca.key").write_text("-----BEGIN nonsense\n")
    p = subprocess.run([podspy_collector, "--data", collector.data, "--listen", "127.0.0.1:0"],
                       capture_output=True, text=True, timeout=60)
    assert p.returncode == 1
    assert "remove both" in p.stderr.splitlines()[-1]


def test_a_second_collector_on_one_data_folder_is_refused(collector, podspy_collector):
    p = subprocess.run([podspy_collector, "--data", collector.data, "--listen", "127.0.0.1:0"],
                       capture_output=True, text=True, timeout=60)
    assert p.returncode == 1
    assert "another collector" in p.stderr


def test_a_taken_port_is_an_error_that_names_it(collector, podspy_collector, tmp_path):
    address = f"127.0.0.1:{collector.https}"
    p = subprocess.run([podspy_collector, "--data", tmp_path / "d", "--listen", address],
                       capture_output=True, text=True, timeout=60)
    assert p.returncode == 1
    assert address in p.stderr and "in use" in p.stderr


@pytest.mark.parametrize("arguments", [["--frob"], ["--log-level", "loud"], ["stray"],
                                       ["--listen", "8443"], ["--listen", "a:b"],
                                       ["--listen-http", "1.2.3.4:99999"], ["--data", ""],
                                       ["--log-format", "xml"]])
def test_a_wrong_command_line_ends_with_2(podspy_collector, arguments):
    p = subprocess.run([podspy_collector, *arguments], capture_output=True, text=True, timeout=60)
    assert p.returncode == 2 and p.stderr and not p.stdout


def test_help_and_version_end_with_0(podspy_collector):
    for argument, word in (("--help", "--listen-http"), ("--version", "podspy-collector 0.")):
        p = subprocess.run([podspy_collector, argument], capture_output=True, text=True, timeout=60)
        assert p.returncode == 0 and word in p.stdout


def test_a_wrong_configuration_ends_with_1_and_names_the_line(podspy_collector, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("limits:\n  body_mb: 3\n")
    p = subprocess.run([podspy_collector, "--config", file, "--data", tmp_path / "d"],
                       capture_output=True, text=True, timeout=60)
    assert p.returncode == 1
    assert "body_mb" in p.stderr and "2" in p.stderr


def test_a_data_folder_that_cannot_be_created_is_an_error(podspy_collector, tmp_path):
    (tmp_path / "file").write_text("")
    p = subprocess.run([podspy_collector, "--data", tmp_path / "file" / "d"],
                       capture_output=True, text=True, timeout=60)
    assert p.returncode == 1
    assert "--data" in p.stderr


def test_json_log_lines_are_json(podspy_collector, tmp_path):
    import json
    c = Collector(podspy_collector, tmp_path / "d", "--log-format", "json")
    assert c.stop() == 0
    lines = [json.loads(l) for l in c.log.read_text().splitlines()]
    listening = next(l for l in lines if l["msg"] == "listening")
    assert listening["https"] == c.https and listening["http"] == c.http


def test_http_off_leaves_only_tls(podspy_collector, tmp_path):
    c = Collector(podspy_collector, tmp_path / "d", "--listen-http", "off")
    try:
        assert c.http is None
        assert c.get("/pods").status_code == 200
    finally:
        assert c.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone sees the descriptors of a process that is not dumpable")
def test_descriptors_and_memory_do_not_grow_with_requests(collector):
    def state():
        fds = len(list(pathlib.Path(f"/proc/{collector.process.pid}/fd").iterdir()))
        return fds, collector.memory_peak_mib()

    for _ in range(50):
        collector.push(b"junk")
        collector.get("/pods")
    fds, peak = state()
    for _ in range(200):
        collector.push(b"junk")
        collector.get("/pods")
        collector.push(b"x", Authorization="Bearer wrong")
    deadline = time.monotonic() + 15
    while state()[0] > fds + 4 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert state()[0] <= fds + 4
    assert state()[1] < peak + 30
