"""Who may send and who may read."""

import os
import socket
import ssl
import stat
import subprocess

import pytest
import requests

from collector import usual_batch


def test_a_push_without_the_right_token_is_401(collector):
    for value in ("", "Bearer nonsense", "Basic eDp5", f"Bearer {collector.token('read')}"):
        r = collector.push(usual_batch().bytes(), Authorization=value)
        assert r.status_code == 401
        assert r.json()["error"]["code"] == "unauthorized"
        assert "ingest.token" in r.json()["error"]["hint"]
        assert r.headers["WWW-Authenticate"] == "Bearer"
    assert collector.get("/pods").json()["pods"] == []


def test_a_query_over_tls_needs_the_read_token(collector):
    for path in ("/profiles?pod=demo", "/pods", "/metrics", "/list"):
        r = requests.get(collector.url(path), verify=collector.ca, timeout=30)
        assert r.status_code == 401, path
        ingest = {"Authorization": f"Bearer {collector.token('ingest')}"}
        assert collector.get(path, headers=ingest).status_code == 401, path


def test_the_plain_listener_needs_no_credential_and_takes_no_profiles(filled):
    assert filled.get_plain("/profiles?pod=demo").status_code == 200
    r = requests.post(f"http://127.0.0.1:{filled.http}/v1development/profiles",
                      data=usual_batch().bytes(), timeout=30,
                      headers={"Authorization": f"Bearer {filled.token('ingest')}"})
    assert r.status_code == 403


def test_the_plain_listener_answers_to_loopback_names_only(filled):
    for host, status in (("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:80", 200),
                         ("evil.example", 403), ("127.0.0.1.evil.example", 403)):
        assert filled.get_plain("/pods", headers={"Host": host}).status_code == status, host


def test_the_plain_listener_must_be_on_loopback(podspy_collector, tmp_path):
    p = subprocess.run([podspy_collector, "--data", tmp_path / "d", "--listen", "127.0.0.1:0",
                        "--listen-http", "0.0.0.0:0"], capture_output=True, text=True, timeout=60)
    assert p.returncode == 1
    assert "loopback" in p.stderr


def test_health_needs_no_credential(collector):
    for path in ("/healthz", "/readyz"):
        assert requests.get(collector.url(path), verify=collector.ca, timeout=30).text == "ok\n"


def test_a_token_file_can_be_replaced_while_it_runs(collector):
    old = collector.token("ingest")
    new = collector.data / "new"
    new.write_text("another-token\n")
    os.rename(new, collector.data / "ingest.token")
    assert collector.push(usual_batch().bytes()).status_code == 200
    r = collector.push(usual_batch().bytes(), Authorization=f"Bearer {old}")
    assert r.status_code == 401
    (collector.data / "ingest.token").write_text("written-in-place\n")
    assert collector.push(usual_batch().bytes()).status_code == 200


def test_the_data_folder_is_closed_to_others(collector):
    assert stat.S_IMODE(collector.data.stat().st_mode) == 0o700
    for file in collector.data.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_an_open_data_folder_is_closed_at_the_start(new_collector, tmp_path):
    (tmp_path / "data0").mkdir(mode=0o755)
    c = new_collector()
    assert stat.S_IMODE(c.data.stat().st_mode) == 0o700


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version, works", [("TLSv1_1", False), ("TLSv1_2", True),
                                            ("TLSv1_3", True)])
def test_tls_is_1_2_or_1_3(collector, version, works):
    context = ssl.create_default_context(cafile=collector.ca)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
    with socket.create_connection(("127.0.0.1", collector.https), timeout=30) as s:
        if not works:
            with pytest.raises(OSError):
                context.wrap_socket(s, server_hostname="localhost")
        else:
            with context.wrap_socket(s, server_hostname="localhost") as t:
                assert t.version() == version.replace("_", ".")


def test_the_certificate_satisfies_a_strict_client(collector):
    context = ssl.create_default_context(cafile=collector.ca)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    for name in ("localhost", "127.0.0.1", "podspy-collector", socket.gethostname()):
        with socket.create_connection(("127.0.0.1", collector.https), timeout=30) as s:
            with context.wrap_socket(s, server_hostname=name) as t:
                assert t.getpeercert()


# --- client certificates ---

def _openssl(*arguments, cwd):
    subprocess.run(["openssl", *arguments], cwd=cwd, check=True, capture_output=True)


def _client(folder, ca, name, purpose):
    (folder / "ext").write_text(f"extendedKeyUsage={purpose}\n")
    _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
             f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}", cwd=folder)
    _openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key",
             "-CAcreateserial", "-days", "2", "-out", f"{name}.pem", "-extfile", "ext", cwd=folder)
    return str(folder / f"{name}.pem"), str(folder / f"{name}.key")


@pytest.fixture
def authorities(tmp_path):
    for ca in ("trusted", "stranger"):
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-subj", f"/CN={ca}", "-days", "2",
                 cwd=tmp_path)
    return tmp_path


def test_a_client_certificate_must_be_signed_by_the_ca(new_collector, authorities):
    config = (f"tls: {{client_ca_file: {authorities}/trusted.pem}}\n"
              "auth: {ingest: [mtls, token], read: [mtls]}\n")
    c = new_collector(config=config)

    def status(cert, path="/pods"):
        return requests.get(c.url(path), verify=c.ca, cert=cert, timeout=30).status_code

    assert status(_client(authorities, "trusted", "good", "clientAuth")) == 200
    assert status(_client(authorities, "trusted", "server", "serverAuth")) == 401
    assert status(_client(authorities, "stranger", "bad", "clientAuth")) == 401
    assert status(None) == 401
    assert c.get("/pods").status_code == 401, "a token is not among auth.read"
    assert c.push(usual_batch().bytes()).status_code == 200, "a token is among auth.ingest"
