"""Requests that two servers could read in two ways are refused, and so are those of other sites' pages."""

import json
import re
import socket

import pytest

from collector import usual_batch


def _answers(s, request):
    """All that arrives until the server ends the connection."""
    s.settimeout(20)
    with s:
        s.sendall(request)
        out = b""
        while part := s.recv(65536):
            out += part
    return out


def plain(c, request):
    return _answers(socket.create_connection(("127.0.0.1", c.http), timeout=20), request)


def status(answer):
    return [int(s) for s in re.findall(rb"HTTP/1\.[01] (\d+) ", answer)]


def get(path=b"/healthz", *headers, host=b"Host: localhost", version=b"1.1"):
    lines = [b"GET " + path + b" HTTP/" + version, *([host] if host is not None else []), *headers,
             b"Connection: close"]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def test_an_ordinary_request_is_answered(filled):
    for request in (get(), get(b"/pods?pod=a%20b&service=%C3%A9"), get(host=b"Host: [::1]:80"),
                    get(host=b"Host: LOCALHOST:1"), get(host=None, version=b"1.0")):
        assert status(plain(filled, request))[0] in (200, 404), request


@pytest.mark.parametrize("path", [
    b"/healthz%00", b"/healthz%00x", b"/healthz\0x", b"/healthz\0", b"/pods?pod=a%00b", b"/pods?a%00=b",
    b"/profiles?format=svg%00html", b"/profiles?pod=%0d%0aX-Evil:1", b"/pods?pod=%1b%5b2J", b"/pods?pod=%7f",
    b"/\x01", b"/pods?pod=\x1b", b"/healthz x", b"/pods?pod=%", b"/pods?pod=%zz", b"/pods?pod=%4"])
def test_a_target_with_control_characters_is_refused(filled, path):
    answer = plain(filled, get(path))
    assert status(answer) == [400], answer
    assert b"%25" in answer


@pytest.mark.parametrize("host", [
    None, b"Host:", b"Host: ", b"Host: a b", b"Host: localhost\0evil", b"Host: localhost\0", b"Host: [::1", b"Host: ::1]",
    b"Host: []", b"Host: [::1]x", b"Host: 127.0.0.1:evil", b"Host: localhost@evil", b"Host: local\thost",
    b"Host: localhost\r\nHost: localhost", b"Host: localhost\r\nHost: evil", b"Host: evil\r\nHost: localhost",
    b"Host : localhost", b"Host\t: localhost", b"Host: localhost\r\n evil"])
def test_an_absent_malformed_or_repeated_host_is_refused(filled, host):
    assert status(plain(filled, get(host=host)))== [400]


@pytest.mark.parametrize("header", [
    b"X-A : b", b"X A: b", b"X-A\x01: b", b": b", b"X(A): b", b"X-A: b\x01c", b"X-A: b\0c", b"X-A: b\nX-B: c",
    b"Authorization: Bearer a\r\nAuthorization: Bearer b", b"Origin: http://localhost\r\nOrigin: http://localhost"])
def test_a_malformed_or_repeated_header_is_refused(filled, header):
    assert status(plain(filled, get(b"/healthz", header)))== [400]


def _post(c, body, *framing):
    return b"\r\n".join([
        b"POST /v1development/profiles HTTP/1.1", b"Host: localhost", b"Authorization: Bearer " + c.token("ingest").encode(),
        b"Content-Type: application/x-protobuf", *framing]) + b"\r\n\r\n" + body


def test_an_unambiguous_body_length_is_accepted(collector):
    body = usual_batch().bytes()
    chunks = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    for data, framing in ((body, b"Content-Length: %d" % len(body)), (chunks, b"Transfer-Encoding: chunked"),
                          (chunks, b"Transfer-Encoding: Chunked")):
        answer = _answers(collector.raw(), _post(collector, data, framing, b"Connection: close"))
        assert status(answer) == [200], answer


@pytest.mark.parametrize("framing", [
    ["Content-Length: {n}", "Content-Length: {n}"], ["Content-Length: {n}", "Content-Length: 4"],
    ["Content-Length: 4", "Content-Length: {n}"], ["Content-Length: 0", "Content-Length: 0"],
    ["Content-Length: {n}", "Transfer-Encoding: chunked"], ["Transfer-Encoding: chunked", "Content-Length: {n}"],
    ["Content-Length: 0", "Transfer-Encoding: chunked"], ["Transfer-Encoding: gzip, chunked"],
    ["Transfer-Encoding: chunked, identity"], ["Transfer-Encoding: xchunked"], ["Transfer-Encoding: identity"],
    ["Transfer-Encoding:"], ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    ["Transfer-Encoding: identity", "Transfer-Encoding: chunked"], ["Content-Length: {n}", "Transfer-Encoding : chunked"]])
def test_an_ambiguous_body_length_is_refused_and_the_connection_ends(collector, framing):
    """No Connection: close is sent, and a second request waits behind: it must not be answered."""
    body = usual_batch().bytes()
    chunks = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    lines = [line.format(n=len(chunks)).encode() for line in framing]
    answer = _answers(collector.raw(), _post(collector, chunks, *lines) + get())
    assert status(answer) == [400], answer
    assert b"connection: close" in answer.lower()
    assert collector.get("/pods").json()["pods"] == []


# --- pages of other sites ---

@pytest.mark.parametrize("headers, works", [
    ([], True), (["Sec-Fetch-Site: same-origin"], True), (["Sec-Fetch-Site: none"], True),
    (["Origin: http://127.0.0.1:1234"], True), (["Origin: http://127.0.0.1:1234", "Sec-Fetch-Site: same-origin"], True),
    (["Sec-Fetch-Site: cross-site"], False), (["Sec-Fetch-Site: same-site"], False), (["Sec-Fetch-Site:"], False),
    (["Origin: https://evil.example"], False), (["Origin: null"], False), (["Origin: http://127.0.0.1:4321"], False),
    (["Origin: https://127.0.0.1:1234"], False), (["Origin: http://127.0.0.1:1234", "Sec-Fetch-Site: cross-site"], False)])
def test_the_plain_listener_refuses_pages_of_other_sites(filled, headers, works):
    answer = plain(filled, get(b"/pods", *(h.encode() for h in headers), host=b"Host: 127.0.0.1:1234"))
    assert status(answer) == [200 if works else 403]
    if not works:
        error = json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]
        assert error["code"] == "forbidden" and "another site" in error["message"]


def test_over_tls_the_credential_decides_whatever_the_origin(filled):
    assert filled.get("/pods", headers={"Origin": "https://dashboards.example", "Sec-Fetch-Site": "cross-site"}).status_code == 200


# --- what is told without a credential ---

def test_the_version_needs_a_credential(filled):
    import subprocess

    version = subprocess.run([filled.path, "--version"], capture_output=True, text=True, timeout=30).stdout.split()[-1]
    assert re.fullmatch(r"\d+\.\d+.*", version)
    post = b"POST /v1development/profiles HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    requests = [get(p) for p in (b"/", b"/list", b"/healthz", b"/readyz", b"/metrics", b"/pods", b"/profiles?format=svg", b"/none",
                                 b"/healthz?x=1", b"/%00", b"/" + b"a" * 40000)]
    requests += [post, get(host=None), b"GARBAGE\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n", get().replace(b"GET", b"TRACE"),
                 get(b"/healthz", b"X: " + b"a" * 40000)]
    for request in requests:
        answer = _answers(filled.raw(), request).lower()
        for word in (version.encode(), b"\nserver:", b"microhttpd", b"gnutls", b"sqlite", b"debian"):
            assert word not in answer, (request[:60], word)


def test_control_characters_of_a_request_are_escaped_in_the_log(collector):
    for path in (b"/pods%1b[2J", b"/\x1b[31m", b"/pods?x=%c2%9b31m", b"/\xc2\x9b31m", b"/pods?%0alevel=error"):
        _answers(collector.raw(), get(path))
        _answers(collector.raw(), get(path, b"Authorization: Bearer \x1b[31m\xc2\x9b31m"))
        plain(collector, get(path))
    assert collector.push(b"\x1b[31m\n", **{"Content-Type": "text/\x1b[31m"}).status_code in (400, 415)
    text = collector.log.read_text()
    assert "listening" in text
    assert not [c for c in text if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160)]
    assert "\nlevel=" not in text
