"""TLS: ciphers, client certificates, and files that change while the collector runs."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time

import pytest
import requests

from certificates import CLIENT, SERVER, Authority
from collector import usual_batch


def wait_for(what, condition, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def wait_log(c, text, seconds=15):
    wait_for(f"no {text!r} in the log", lambda: text in c.log.read_text(), seconds)


# --- ciphers ---

def _ciphers():
    """Every cipher that OpenSSL has for TLS 1.2 and below."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    return [c["name"] for c in context.get_ciphers() if c["protocol"] != "TLSv1.3"]


def _handshake(c, cipher):
    context = ssl.create_default_context(cafile=c.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", c.https), timeout=30) as s:
        with context.wrap_socket(s, server_hostname="localhost") as t:
            return t.cipher()[0]


def test_tls_1_2_accepts_only_aead_with_ephemeral_keys(collector):
    taken = set()
    for name in _ciphers():
        try:
            taken.add(_handshake(collector, name))
        except OSError:
            pass
    assert {"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"} <= taken
    for name in taken:
        assert name.startswith("ECDHE-ECDSA-"), name
        assert any(mode in name for mode in ("GCM", "CCM", "CHACHA20")), f"{name} is of CBC"


# --- certificates of clients ---

@pytest.fixture
def trusted(tmp_path):
    return Authority(tmp_path, "trusted")


@pytest.fixture
def with_clients(new_collector, trusted):
    return new_collector(config=f"tls: {{client_ca_file: {trusted.path}}}\nauth: {{ingest: [mtls, token], read: [mtls]}}\n")


def ask(c, cert=None, maximum=ssl.TLSVersion.TLSv1_3):
    """Status and error of GET /pods, by a client that does not check its own certificate."""
    context = ssl.create_default_context(cafile=c.ca)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.maximum_version = maximum
    if cert:
        context.load_cert_chain(*cert)
    with contextlib.closing(http.client.HTTPSConnection("127.0.0.1", c.https, timeout=30, context=context)) as h:
        h.request("GET", "/pods")
        answer = h.getresponse()
        return answer.status, json.loads(answer.read()).get("error")


def test_a_client_certificate_must_be_signed_in_date_and_for_clients(with_clients, trusted, tmp_path):
    c = with_clients
    middle, stranger = Authority(tmp_path, "middle", above=trusted), Authority(tmp_path, "stranger")
    assert ask(c, trusted.issue("good", CLIENT))[0] == 200
    assert ask(c, trusted.issue("both", CLIENT, SERVER))[0] == 200
    assert ask(c, trusted.issue("any-purpose"))[0] == 200
    assert ask(c, middle.issue("by-chain", CLIENT, chain=[middle]))[0] == 200
    for cert, why in ((trusted.issue("server", SERVER), "lacks clientAuth"),
                      (trusted.issue("old", CLIENT, days=(-2, -1)), "has expired"),
                      (trusted.issue("new", CLIENT, days=(1, 2)), "not valid yet"),
                      (trusted.issue("weak", CLIENT, weak=True), "weak key"),
                      (middle.issue("no-chain", CLIENT), "no authority in tls.client_ca_file"),
                      (stranger.issue("foreign", CLIENT), "no authority in tls.client_ca_file"),
                      (None, "is required")):
        status, error = ask(c, cert)
        assert status == 401, (cert, error)
        assert why in error["message"], cert
        assert "tls.client_ca_file" in error["hint"]


def test_the_certificate_request_names_no_authorities(with_clients, trusted):
    """The request would name the authorities of the start."""
    cert = trusted.issue("good", CLIENT)
    for version, option in ((ssl.TLSVersion.TLSv1_2, "-tls1_2"), (ssl.TLSVersion.TLSv1_3, "-tls1_3")):
        assert ask(with_clients, cert, version)[0] == 200
        p = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{with_clients.https}", option], input="",
                           capture_output=True, text=True, timeout=30)
        assert "Client Certificate Types" in p.stdout or "Requested Signature Algorithms" in p.stdout, p.stdout
        assert "No client certificate CA names sent" in p.stdout


# --- files that change ---

def served(c):
    """The certificate of a new connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", c.https), timeout=30) as s:
        with context.wrap_socket(s) as t:
            return t.getpeercert(binary_form=True)


def _healthz(connection):
    connection.request("GET", "/healthz")
    return connection.getresponse().read()


def test_a_new_certificate_is_served_after_sighup_and_no_connection_is_dropped(new_collector, trusted, tmp_path):
    crt, key = (shutil.copy(f, tmp_path / n) for f, n in zip(trusted.issue("first", SERVER), ("tls.crt", "tls.key")))
    c = new_collector(config=f"tls: {{cert_file: {crt}, key_file: {key}}}\n")
    first = served(c)
    context = ssl.create_default_context(cafile=str(trusted.path))
    with contextlib.closing(http.client.HTTPSConnection("127.0.0.1", c.https, timeout=30, context=context)) as kept:
        assert _healthz(kept) == b"ok\n"
        socket_before = kept.sock

        # A pair that is not one, then one for clients: told, and the old one stays.
        second = trusted.issue("second", SERVER)
        shutil.copy(second[0], crt)
        c.process.send_signal(signal.SIGHUP)
        wait_log(c, "are certificate and key a pair?")
        assert served(c) == first
        for file, to in zip(trusted.issue("client", CLIENT), (crt, key)):
            shutil.copy(file, to)
        c.process.send_signal(signal.SIGHUP)
        wait_log(c, "lacks serverAuth")
        assert served(c) == first
        assert c.log.read_text().count("still using the previous one") == 2

        for file, to in zip(second, (crt, key)):
            shutil.copy(file, to)
        c.process.send_signal(signal.SIGHUP)
        wait_log(c, "new connections get a renewed certificate")
        assert served(c) == ssl.PEM_cert_to_DER_cert(open(second[0]).read())
        assert _healthz(kept) == b"ok\n" and kept.sock is socket_before, "an open connection stays"


def test_sighup_applies_a_new_client_authority_to_open_connections(with_clients, trusted, tmp_path):
    c, other = with_clients, Authority(tmp_path, "other")
    old, new = trusted.issue("old", CLIENT), other.issue("new", CLIENT)
    with requests.Session() as session:
        def status():
            return session.get(c.url("/pods"), verify=c.ca, cert=old, timeout=30).status_code

        assert status() == 200
        assert ask(c, new)[0] == 401

        trusted.path.write_text("-----BEGIN nonsense\n")
        c.process.send_signal(signal.SIGHUP)
        wait_log(c, "not a PEM file with certificates")
        assert status() == 200, "still using the previous one"

        os.replace(other.path, trusted.path)
        c.process.send_signal(signal.SIGHUP)
        wait_log(c, "using other authorities for client certificates")
        assert ask(c, new)[0] == 200
        assert status() == 401


def test_the_header_file_follows_the_read_token_at_sighup(collector):
    header = collector.data / "read.header"
    assert header.read_text() == f"Authorization: Bearer {collector.token('read')}\n"
    (collector.data / "read.token").write_text("another-one\n")
    collector.process.send_signal(signal.SIGHUP)
    wait_for("read.header is still the old one", lambda: header.read_text() == "Authorization: Bearer another-one\n")
    assert header.stat().st_mode & 0o777 == 0o600
    assert collector.get("/pods").status_code == 200


def test_sighup_ends_neither_the_collector_nor_its_connections(collector):
    for _ in range(3):
        collector.process.send_signal(signal.SIGHUP)
    wait_log(collector, "reading certificates and tokens again")
    assert collector.push(usual_batch().bytes()).status_code == 200
    assert collector.process.poll() is None
