"""Against hostile clients and too large queries, honest pushes and /readyz are answered, memory stays bounded, and SIGTERM
ends the collector in time."""

import concurrent.futures
import contextlib
import os
import pathlib
import select
import socket
import ssl
import sys
import threading
import time

import pytest
import requests
import zstandard

import machine
from collector import Batch, labels, usual_batch

SANITIZED = bool(os.environ.get("PODSPY_SANITIZE"))
SLOW = {"thread": 10, "": 1}.get(os.environ.get("PODSPY_SANITIZE", ""), 5)  # what a sanitizer makes of a bound
PODS = {1: 40, 5: 8, 10: 2}[SLOW]
FRAMES, STACKS, WINDOWS, A_PUSH = 25, 100, 40, 4


def cpu_seconds(c):
    fields = pathlib.Path(f"/proc/{c.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(c):
    status = pathlib.Path(f"/proc/{c.process.pid}/status").read_text()
    return int(next(l for l in status.splitlines() if l.startswith("VmRSS")).split()[1]) / 1024


def fill(c, pods=PODS):
    """So many processes with WINDOWS windows each of STACKS stacks: of all PODS 160,000 samples to merge, 100,000 frames in the tree."""
    session = requests.Session()
    for pod in range(pods):
        b = Batch()
        stacks = [([(f"f{pod}_{s if d > 3 else 0}_{d}", f"/app/part{d}.py", d + 1) for d in range(FRAMES)], 1, "running", 1, "main")
                  for s in range(STACKS)]
        b.add(labels(pod=f"wide-{pod}", pid=100 + pod), stacks)
        profiles = b.request.resource_profiles[0].scope_profiles[0].profiles
        for _ in range(A_PUSH - 1):
            profiles.add().CopyFrom(profiles[0])
        for first in range(0, WINDOWS, A_PUSH):
            for n, p in enumerate(profiles):
                p.profile_id = os.urandom(16)
                p.time_unix_nano = int((time.time() - 600 + (first + n) * 10) * 1e9)
            assert c.push(b.bytes(), session=session).status_code == 200


def allowance(c):
    """Seconds by which a bound is raised for what else the machine does: ten times the longest of ten pushes before the
    attack. Hundredths of a second on a quiet machine."""
    longest = 0
    for _ in range(10):
        began = time.monotonic()
        assert c.push(usual_batch(pod="honest").bytes()).status_code == 200
        longest = max(longest, time.monotonic() - began)
    return 10 * longest


class Honest:
    """Pushes, asks for one pod and probes, again and again, on a thread of its own; keeps the longest time of each."""

    def __init__(self, c):
        self.c, self.longest, self.wrong, self.rounds = c, {}, [], 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.allowance = allowance(c)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def one(self, name, ask):
        began = time.monotonic()
        try:
            status = ask().status_code
        except requests.RequestException as e:
            status = repr(e)
        if status != 200:
            self.wrong.append((name, status))
        self.longest[name] = max(self.longest.get(name, 0), time.monotonic() - began)

    def run(self):
        while not self.stop.is_set():
            self.one("push", lambda: self.c.push(usual_batch(pod="honest").bytes()))
            self.one("readyz", lambda: requests.get(self.c.url("/readyz"), verify=self.c.ca, timeout=60))
            self.rounds += 1
            self.stop.wait(0.05)

    def check(self, seconds):
        assert self.rounds > 3 and self.wrong == []
        assert max(self.longest.values()) < seconds * SLOW + self.allowance, (self.longest, self.allowance)


@contextlib.contextmanager
def silent_tls(c, n, bytes_of):
    """n connections that begin a handshake and then stay silent."""
    held = []
    for _ in range(n):
        held.append(socket.create_connection(("127.0.0.1", c.https), timeout=20))
        held[-1].sendall(bytes_of)
    yield
    for s in held:
        s.close()


def client_hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("begun", [b"\x16\x03\x01\x02\x00\x01", None], ids=["six bytes", "a whole hello"])
def test_a_stalled_handshake_uses_no_cpu(collector, begun):
    with silent_tls(collector, 8, begun or client_hello()):
        def seconds():  # of CPU; the first second may have the handshakes' own work
            before = cpu_seconds(collector)
            time.sleep(1.5)
            return cpu_seconds(collector) - before

        machine.measured("seconds of CPU", seconds, lambda s: s < 0.15)  # with epoll it was 3 on two CPUs


def ask_and_leave(port, path):
    s = socket.create_connection(("127.0.0.1", port), timeout=20)
    s.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())
    s.close()


def test_queries_end_when_their_clients_leave(collector):
    fill(collector)
    collector.push(usual_batch(pod="honest").bytes())
    with Honest(collector) as honest:
        for _ in range(200):
            ask_and_leave(collector.http, "/profiles?format=svg&pod=wide-*&max_nodes=100000")
        # Within a second all that wait are dropped, and those that run soon after.
        deadline = time.monotonic() + 15 * SLOW + honest.allowance
        while collector.get_plain("/profiles?pod=honest&format=json").status_code != 200:
            assert time.monotonic() < deadline
        honest.stop.wait(3 * SLOW)
    honest.check(2)
    before = cpu_seconds(collector)
    time.sleep(1)
    assert cpu_seconds(collector) - before < 0.25
    assert "cannot answer a query" not in collector.log.read_text()  # nobody was there to be answered


def test_large_queries_leave_room_for_small_ones_and_pushes(new_collector):
    memory = 384
    c = new_collector(config="limits: {memory_mib: %d}\n" % memory)
    fill(c)
    c.push(usual_batch(pod="honest").bytes())
    wide = "/profiles?format=json&pod=wide-*&max_nodes=50000"
    with Honest(c) as honest, concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(c.get_plain, wide) for _ in range(2 if SANITIZED else 6)]
        small = []
        while not all(a.done() for a in answers):
            began = time.monotonic()
            assert c.get_plain("/profiles?pod=honest&format=json").status_code == 200
            small.append(time.monotonic() - began)
    honest.check(2)
    assert {a.result().status_code for a in answers} == {200}
    assert len(small) > 5 and max(small) < 3 * SLOW + honest.allowance, max(small)
    # A sanitizer keeps what is freed.
    assert SANITIZED or c.memory_peak_mib() < memory
    time.sleep(1)
    assert SANITIZED or rss_mib(c) < memory / 2


def ask_from(address, port, path):
    s = socket.create_connection(("127.0.0.1", port), timeout=60 * SLOW, source_address=(address, 0))
    s.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path.encode())
    return s


def test_queries_of_one_address_leave_room_for_another(new_collector):
    c = new_collector(config="limits: {connections_per_ip: 400}\n")
    fill(c, min(8, PODS))
    wide = "/profiles?format=json&pod=wide-*&max_nodes=%d"
    greedy = [ask_from("127.0.0.1", c.http, wide % (50000 + n)) for n in range(300)]
    with ask_from("127.0.0.2", c.http, wide % 60000) as s:
        assert s.recv(100).startswith(b"HTTP/1.1 200 ")
    refused = [s for s in greedy if select.select([s], [], [], 0)[0] and s.recv(100).startswith(b"HTTP/1.1 429 ")]
    assert refused
    for s in greedy:
        s.close()


@pytest.mark.skipif(SLOW == 10, reason="it needs the whole store, which takes minutes to fill under the thread sanitizer")
def test_a_query_that_exceeds_memory_is_refused_with_a_hint(new_collector):
    c = new_collector(config="limits: {memory_mib: 64, body_mib: 4}\n")
    fill(c, 40)
    r = c.get_plain("/profiles?format=json&pod=wide-*")
    assert r.status_code == 413 and "narrow" in r.json()["error"]["message"]
    assert c.get_plain("/profiles?format=json&pod=wide-3").status_code == 200


HARD = ".*[a-z/_].{450}~"


def test_the_cost_of_expressions_is_bounded(collector):
    fill(collector)
    query = "&".join(f"include={HARD.replace('a-z', f'{chr(97 + i)}-z')}" for i in range(16))
    with Honest(collector) as honest, concurrent.futures.ThreadPoolExecutor(8) as pool:
        before = cpu_seconds(collector)
        answers = list(pool.map(collector.get_plain, [f"/top?pod=wide-*&{query}"] * (2 if SANITIZED else 8)))
        used = cpu_seconds(collector) - before
    honest.check(2)
    assert {r.status_code for r in answers} <= {404, 400}, [r.text for r in answers]
    assert used < 8 * 4 * SLOW
    assert SANITIZED or collector.memory_peak_mib() < 300


def test_unfinished_bodies_leave_room_for_honest_pushes(new_collector):
    c = new_collector(config="limits: {memory_mib: 128, body_mib: 4}\n")
    held = []
    with Honest(c) as honest:
        for _ in range(12):  # 48 MiB, of the 16 that bodies may take
            s = c.raw()
            held.append(s)
            head = (b"POST /v1development/profiles HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"
                    b"Content-Type: application/x-protobuf\r\nContent-Length: %d\r\n\r\n" % (c.token("ingest").encode(), 4 << 20))
            with contextlib.suppress(OSError):  # it may be refused meanwhile
                s.sendall(head + b"\0" * ((4 << 20) - 1))
        time.sleep(2)
    honest.check(2)
    assert c.metric("podspy_collector_http_busy_total") >= 8
    for s in held:
        s.close()


def test_a_body_that_drips_after_a_fast_start_is_refused(collector):
    with collector.raw() as s:
        s.sendall(b"POST /v1development/profiles HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"
                  b"Content-Type: application/x-protobuf\r\nContent-Length: 4000000\r\n\r\n" % collector.token("ingest").encode())
        s.sendall(b"\0" * 1000000)  # by the rate over the whole upload it could now drip for 16 minutes
        began = time.monotonic()
        s.settimeout(0.5)
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 60:
                s.sendall(b"\0")
                with contextlib.suppress(TimeoutError):
                    if not s.recv(100):
                        break
        assert 9 < time.monotonic() - began < 55


def expensive_body():
    """40 KB when packed. 40,000 stacks of a location of 16,000 lines; the bytes of a long text let it have more of them."""
    b = Batch()
    d = b.request.dictionary
    d.function_table.add(name_strindex=b._string("f"))
    location = d.location_table.add()
    for n in range(16000):
        location.lines.add(function_index=1, line=n % 3)
    scope = b.request.resource_profiles.add()
    scope.resource.attributes.add(key="service.name").value.string_value = "x"
    profile = scope.scope_profiles.add().profiles.add(profile_id=b"x" * 16)
    for n in range(40000):
        d.stack_table.add().location_indices.append(1)
        profile.samples.add(stack_index=n + 1, values=[1])
    d.string_table.append("7" * (2 << 20))
    return zstandard.ZstdCompressor().compress(b.bytes())


@pytest.mark.skipif(SLOW == 10, reason="49 pushes of ten seconds each under the thread sanitizer; test_faults has many pushes at once")
def test_expensive_pushes_delay_neither_honest_ones_nor_the_end(new_collector):
    collector = new_collector(config="limits: {body_mib: 1}\n")
    body = expensive_body()

    def seconds():
        before = cpu_seconds(collector)
        assert collector.push(body, "zstd").status_code == 413
        return cpu_seconds(collector) - before

    # It was 1.4; and 20 s where a body may have 16 MiB. Caches that others use make it slower.
    machine.measured("seconds of CPU", seconds, lambda s: SANITIZED or s < 0.9)
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        with Honest(collector) as honest:
            answers = list(pool.map(lambda _: collector.push(body, "zstd").status_code, range(24)))
        honest.check(2)
        assert set(answers) == {413, 503} and answers.count(503) > 4
        for _ in range(24):
            pool.submit(collector.push, body, "zstd")
        time.sleep(1)
        began = time.monotonic()
        collector.process.terminate()
        assert collector.process.wait(60) == 0
        assert time.monotonic() - began < 10 * SLOW + honest.allowance


def test_a_flood_of_probes_writes_once_a_second(collector):
    """A probe needs no credential, and each used to be a transaction."""
    def transactions():
        """The wal-index counts them: iChange (sqlite.org/walformat.html, section 2.1)."""
        return int.from_bytes((collector.data / "podspy.db-shm").read_bytes()[8:12], sys.byteorder)

    session = requests.Session()
    before, began = transactions(), time.monotonic()
    for _ in range(300):
        assert session.get(f"http://127.0.0.1:{collector.http}/readyz").status_code == 200
    took = time.monotonic() - began
    assert before <= transactions() <= before + 4 * (2 + took)


def test_sigterm_ends_the_collector_within_ten_seconds_under_load(collector):
    fill(collector)
    more = allowance(collector)
    acknowledged = []
    stop = threading.Event()

    def push():
        session = requests.Session()
        while not stop.is_set():
            b = usual_batch(pod="pushed")
            with contextlib.suppress(requests.RequestException):
                if collector.push(b.bytes(), session=session).status_code == 200:
                    acknowledged.append(b)

    def ask():
        with contextlib.suppress(requests.RequestException):
            collector.get_plain("/profiles?format=svg&pod=wide-*&max_nodes=1000000")

    threads = [threading.Thread(target=push) for _ in range(4)] + [threading.Thread(target=ask) for _ in range(40)]
    for t in threads:
        t.start()
    time.sleep(1)
    began = time.monotonic()
    collector.process.terminate()
    assert collector.process.wait(60) == 0
    took = time.monotonic() - began
    stop.set()
    for t in threads:
        t.join()
    assert took < 10 * SLOW + more, (took, more)
    collector.start()
    pods = collector.get_plain("/pods?pod=pushed").json()["pods"]
    windows = sum(p["windows"] for pod in pods for x in pod["containers"] for p in x["processes"])
    assert windows >= len(acknowledged) > 0


def test_a_list_that_exceeds_memory_is_refused_with_a_hint(new_collector):
    c = new_collector(config="limits: {memory_mib: 64, body_mib: 4}\n")
    for first in range(0, 4000, 100):
        b = Batch()
        for pid in range(first, first + 100):
            b.add(labels(pod=f"many-{pid % 100}", pid=pid + 1), [])
        assert c.push(b.bytes()).status_code == 200
    r = c.get_plain("/pods")
    assert r.status_code == 413 and "narrow" in r.json()["error"]["message"]
    r = c.get_plain("/pods?pod=many-7")
    assert r.status_code == 200 and len(r.json()["pods"][0]["containers"][0]["processes"]) == 40
