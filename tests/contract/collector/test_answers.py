"""How answers are sent: compression, HEAD, ETag, caching, and no control characters."""

import gzip
import socket
import subprocess
import time

import pytest
import requests

from collector import Batch, labels

READS = ["/profiles?pod=demo&format=svg", "/profiles?pod=demo&format=json", "/top", "/pods", "/metrics",
         "/", "/readyz", "/healthz"]


def raw(c, request):
    """The answer on the plain listener as it is on the wire: (status line and headers, body)."""
    with socket.create_connection(("127.0.0.1", c.http), timeout=30) as s:
        s.sendall(request.encode() + b"Host: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    head, body = answer.split(b"\r\n\r\n", 1)
    return head.decode(), body


def headers_of(head):
    return {k.lower(): v for k, v in (line.split(": ", 1) for line in head.split("\r\n")[1:])}


@pytest.mark.parametrize("path", READS[:5])
@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_answers_are_compressed_as_accepted(filled, path, coding):
    head, body = raw(filled, f"GET {path} HTTP/1.1\r\nAccept-Encoding: br, {coding};q=0.5\r\n")
    headers = headers_of(head)
    assert headers["content-encoding"] == coding
    assert "Accept-Encoding" in headers["vary"]
    assert int(headers["content-length"]) == len(body)
    plain = gzip.decompress(body) if coding == "gzip" else subprocess.run(
        ["zstd", "-dc"], input=body, capture_output=True, check=True).stdout
    assert len(body) < 0.7 * len(plain)
    if "format=svg" in path:
        assert plain.endswith(b"</svg>\n")
    for refusing in ("", "Accept-Encoding: identity\r\n", f"Accept-Encoding: {coding};q=0\r\n"):
        head, _ = raw(filled, f"GET {path} HTTP/1.1\r\n{refusing}")
        assert "content-encoding" not in headers_of(head)
        assert "Accept-Encoding" in headers_of(head)["vary"]


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_head_has_the_headers_of_get_and_no_body(filled, path, coding):
    answers = [raw(filled, f"{method} {path} HTTP/1.1\r\nAccept-Encoding: {coding}\r\n")
               for method in ("GET", "HEAD")]
    (got, body), (head, nothing) = answers
    assert not nothing and body
    a, b = headers_of(got), headers_of(head)
    for changing in ("date", "etag", "content-length"):  # times and counters go on meanwhile
        assert bool(a.pop(changing, None)) == bool(b.pop(changing, None)), changing
    assert a == b and got.split("\r\n")[0] == head.split("\r\n")[0]


@pytest.mark.parametrize("method, path, allow", [
    ("POST", "/profiles", "GET, HEAD"), ("DELETE", "/pods", "GET, HEAD"), ("OPTIONS", "/", "GET, HEAD"),
    ("PUT", "/healthz", "GET, HEAD"), ("GET", "/v1development/profiles", "POST"),
    ("HEAD", "/v1development/profiles", "POST")])
def test_a_405_names_the_allowed_methods(filled, method, path, allow):
    r = requests.request(method, f"http://127.0.0.1:{filled.http}{path}", timeout=30)
    assert r.status_code == 405 and r.headers["Allow"] == allow
    assert "Allow" not in filled.get_plain(path if allow != "POST" else "/pods").headers


def at(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


@pytest.fixture(scope="module")
def settled(podspy_collector, tmp_path_factory):
    """A collector that holds a window of ten minutes ago, and names that would drive a terminal."""
    from collector import MAIN, Collector
    c = Collector(podspy_collector, tmp_path_factory.mktemp("settled") / "data")
    b = Batch()
    b.add(labels(pod="old"), [([MAIN], 10, "running", 1, "m")], start=time.time() - 600)
    for i, odd in enumerate(ODD):
        b.add(labels(pod=f"odd{odd}pod", pid=50 + i, **{"k8s.namespace.name": odd}),
              [([(f"f{odd}n", f"/a{odd}b.py", 1)], 10, "running", 2, f"t{odd}")])
    assert c.push(b.bytes()).status_code == 200
    yield c
    assert c.stop() == 0


ODD = ["\x1b]0;x\x07", "\x08\x0c", "\x7f", "\x9b31m", "\u202e", "\u2066", "\U000e0041", "\u200b"]


def test_an_etag_that_matches_gets_304_without_a_body(settled):
    now = time.time()
    path = f"/profiles?pod=old&format=svg&from={at(now - 900)}&until={at(now - 300)}"
    first = settled.get_plain(path)
    assert first.status_code == 200 and first.headers["ETag"].startswith('"')
    for known in (first.headers["ETag"], "W/" + first.headers["ETag"], '"x", ' + first.headers["ETag"]):
        again = settled.get_plain(path, headers={"If-None-Match": known})
        assert again.status_code == 304 and not again.content
        for name in ("ETag", "Cache-Control", "Vary", "Content-Security-Policy"):
            assert again.headers[name] == first.headers[name]
    assert settled.get_plain(path, headers={"If-None-Match": '"x"'}).status_code == 200
    other = settled.get_plain(path, headers={"If-None-Match": first.headers["ETag"],
                                             "Accept-Encoding": "identity"})
    assert other.status_code == 200 and other.headers["ETag"] != first.headers["ETag"]


@pytest.mark.parametrize("path", ["/profiles?pod=old&format=json", "/top?pod=old", "/pods?pod=old"])
def test_only_answers_about_a_past_time_may_be_cached(settled, path):
    now = time.time()
    over = {"from": at(now - 900), "until": at(now - 300)}
    for more, kept in ((over, True), ({"from": str(now - 900), "until": str(now - 300)}, True),
                       ({"until": at(now - 300)}, True),
                       ({}, False), ({"from": at(now - 900)}, False),
                       ({**over, "until": at(now - 60)}, False), ({**over, "until": "now"}, False),
                       ({**over, "from": "-20m"}, False), ({"from": "-20m", "until": "-5m"}, False)):
        r = settled.get_plain(path, params=more)
        assert r.status_code == 200, r.text
        assert r.headers["Cache-Control"] == ("private, max-age=300" if kept else "no-store"), more
    gone = settled.get_plain(path.replace("pod=old", "pod=none"), params=over)
    assert gone.status_code == 404 and gone.headers["Cache-Control"] == "no-store"


def drives_a_terminal(text):
    return sorted({hex(ord(c)) for c in text if c != "\n" and (
        ord(c) < 0x20 or 0x7f <= ord(c) <= 0x9f or 0x202a <= ord(c) <= 0x202e
        or 0x2066 <= ord(c) <= 0x2069 or ord(c) in (0x200b, 0x200e, 0x200f) or ord(c) >= 0xe0000)})


@pytest.mark.parametrize("path", ["/", "/pods", "/top", "/profiles?format=json", "/profiles?format=svg",
                                  "/profiles?format=collapsed&threads=1&processes=1",
                                  "/profiles?format=speedscope", "/profiles?pod=none", "/metrics"])
def test_names_in_answers_hold_no_control_characters(settled, path):
    r = settled.get_plain(path)
    assert len(r.content) > 100
    assert drives_a_terminal(r.content.decode()) == []
    assert "default-src 'none'" in r.headers["Content-Security-Policy"]


def test_echoed_parameters_hold_no_control_characters(settled):
    for odd in ODD:
        for path in ("/profiles", "/pods", "/profiles?format=svg&pod=old"):
            r = settled.get_plain(path, params={"pod": odd})
            assert drives_a_terminal(r.content.decode()) == [], (odd, path)


def test_json_carries_names_unchanged(settled):
    names = {p["namespace"] for p in settled.get_plain("/pods").json()["pods"]}
    assert set(ODD) <= names
    listing = settled.get_plain("/").text
    assert "odd\\x7fpod" in listing and "odd\\u202epod" in listing and "odd\\x1b]0;x\\x07pod" in listing
