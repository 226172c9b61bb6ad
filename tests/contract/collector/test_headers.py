"""Every answer bears the security headers, whatever its status and whichever code writes it."""

import contextlib
import socket
import time

import pytest

from collector import Batch, Collector, labels, usual_batch, usual_stacks

POST = "POST /v1development/profiles HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
GET = "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}\r\n"
BODY = 1 << 20


@pytest.fixture(scope="module")
def full(podspy_collector, tmp_path_factory):
    """A collector of one series and one agent that takes 1 MiB a body."""
    c = Collector(podspy_collector, tmp_path_factory.mktemp("full") / "data",
                  config="limits: {body_mib: 1, series: 1, agents: 1, memory_mib: 64}\n")
    assert c.push(usual_batch().bytes()).status_code == 200
    yield c
    assert c.stop() == 0, c.log.read_text()


def answer(s, *parts):
    """(status, {name: value}, body) of the first answer to what is sent; sending may end early."""
    s.settimeout(20)
    with s:
        with contextlib.suppress(OSError):
            for part in parts:
                s.sendall(part if isinstance(part, bytes) else part.encode())
        out = b""
        with contextlib.suppress(ConnectionError):
            while more := s.recv(65536):
                out += more
    head, body = out.split(b"\r\n\r\n", 1)
    first, *lines = head.decode().split("\r\n")
    rows = [line.split(": ", 1) for line in lines]
    headers = {name.lower(): value for name, value in rows}
    assert len(headers) == len(rows), "a header came twice"
    return int(first.split()[1]), headers, body


def plain(c, *parts):
    return answer(socket.create_connection(("127.0.0.1", c.http), timeout=20), *parts)


def pushed(c, body, framing=None, more="", token="ingest"):
    return answer(c.raw(), f"{POST}Authorization: Bearer {c.token(token)}\r\nConnection: close\r\n{more}"
                  f"{framing or f'Content-Length: {len(body)}'}\r\n\r\n", body)


def get(path, more=""):
    return lambda c: plain(c, GET.format(path, more))


def push(make_body, **more):
    return lambda c: pushed(c, make_body(), **more)


def of(start=None, **more):
    b = Batch()
    b.add(labels(**more), usual_stacks(), start=start)
    return b.bytes()


def in_the_middle(c):
    """The body is too long, which shows only after it has begun."""
    block = b"\0" * 65536
    return pushed(c, (b"%x\r\n" % len(block) + block + b"\r\n") * 40, "Transfer-Encoding: chunked")


def held(c):
    """Too many bodies are held, which shows while this one arrives. On a slow machine they may be given up before."""
    for _ in range(3):
        got = push_beside_held_bodies(c)
        if got[0] == 503:
            break
    return got


def push_beside_held_bodies(c):
    others = []
    for _ in range(12):
        others.append(c.raw())
        with contextlib.suppress(OSError):
            others[-1].sendall(f"{POST}Authorization: Bearer {c.token('ingest')}\r\nContent-Length: {BODY}\r\n\r\n".encode()
                               + b"\0" * (BODY - 1))
    try:
        return pushed(c, b"\0" * BODY)
    finally:
        for s in others:
            s.close()


def known(c):
    path = f"/profiles?pod=demo&format=svg&until={int(time.time()) + 60}"
    _, headers, _ = plain(c, GET.format(path, ""))
    return plain(c, GET.format(path, f"If-None-Match: {headers['etag']}\r\n"))


KINDS = {
    "svg": (200, get("/profiles?pod=demo&format=svg")), "json": (200, get("/profiles?pod=demo&format=json")),
    "page": (200, get("/")), "list": (200, get("/list")), "metrics": (200, get("/metrics")), "probe": (200, get("/healthz")), "stored": (200, push(of)),
    "head": (200, lambda c: plain(c, GET.format("/pods", "").replace("GET", "HEAD"))),
    "known": (304, known),
    "parameter": (400, get("/pods?x=1")), "form": (400, get("/pods?pod=%00")), "malformed": (400, push(lambda: b"noise")),
    "no credential": (401, lambda c: answer(c.raw(), GET.format("/pods", ""))),
    "other token": (401, push(of, token="read")), "refused before its body": (401, push(lambda: b"\0" * BODY, token="read")),
    "host": (403, lambda c: plain(c, GET.format("/pods", "").replace("localhost", "evil.example"))),
    "other site": (403, get("/pods", "Sec-Fetch-Site: cross-site\r\n")),
    "plain push": (403, lambda c: plain(c, POST, "Content-Length: 1\r\n\r\n", "x")),
    "path": (404, get("/none")), "nothing": (404, get("/profiles?pod=none")),
    "method": (405, lambda c: plain(c, GET.format("/pods", "").replace("GET", "DELETE"))),
    "told length": (413, push(lambda: b"\0" * (BODY + 1))), "length in the middle": (413, in_the_middle),
    "encoding": (415, push(of, more="Content-Encoding: br\r\n")),
    "agents": (429, push(lambda: of(**{"k8s.node.name": "another"}))),
    "clock": (503, push(lambda: of(start=time.time() + 86400))), "held bodies": (503, held),
    "series": (507, push(lambda: of(pid=9))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_bears_the_security_headers(full, kind):
    status, ask = KINDS[kind]
    got, headers, body = ask(full)
    assert got == status, body[:300]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cache-control"]
    assert kind in ("page", "list") or "html" not in headers["content-type"]
    if status in (429, 503, 507):
        assert int(headers["retry-after"]) > 0
    if status == 401:
        assert headers["www-authenticate"] == "Bearer"
    if status >= 400:
        assert headers["cache-control"] == "no-store" and b'"error"' in body


@pytest.mark.parametrize("request_text, status", [
    (GET.format("/pods?pod=" + "evil" * 10000, ""), 414), (GET.format("/pods", f"X-Evil: {'evil' * 10000}\r\n"), 431),
    (GET.format("/evil", "Content-Length: evil\r\n"), 400), (GET.format("/evil", "").replace("HTTP/1.1", "HTTP/2.0"), 505)])
def test_pages_of_the_library_echo_nothing_of_the_request(full, request_text, status):
    """libmicrohttpd sends these constant pages before it calls the collector."""
    with socket.create_connection(("127.0.0.1", full.http), timeout=20) as s:
        s.settimeout(20)
        out = b""
        with contextlib.suppress(ConnectionError):
            s.sendall(request_text.encode())
            while more := s.recv(65536):
                out += more
    assert out.startswith(b"HTTP/1.1 %d " % status)
    assert b"evil" not in out and len(out) < 600


