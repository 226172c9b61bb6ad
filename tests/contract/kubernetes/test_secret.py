"""The authority and the certificate in a Secret, and the authority in a ConfigMap."""

import base64
import concurrent.futures
import socket
import ssl
import subprocess
import threading
import time

import pytest
import requests

from api_double import NAMESPACE

HOST = f"podspy-collector.{NAMESPACE}.svc"


def shown(collector, ca, name=HOST):
    """The certificate that a new connection sees, checked against ca and name."""
    context = ssl.create_default_context(cadata=ca)
    with socket.create_connection(("127.0.0.1", collector.https), timeout=30) as plain:
        with context.wrap_socket(plain, server_hostname=name) as tls:
            return tls.getpeercert(binary_form=True)


def published(api):
    return api.objects["configmaps/ca"]["data"]["ca.crt"]


def test_the_first_start_makes_stores_and_publishes_an_authority(api, collector):
    assert set(api.objects["secrets/tls"]["data"]) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}
    assert published(api) == api.secret("ca.crt")
    assert "PRIVATE" not in published(api)
    assert shown(collector, published(api)) == ssl.PEM_cert_to_DER_cert(api.secret("tls.crt"))
    for name in ("podspy-collector", f"{HOST}.cluster.local", "localhost"):
        shown(collector, published(api), name)
    assert not (collector.data / "ca.key").exists()


def test_the_next_start_uses_the_same_authority(api, new_collector):
    first, second = new_collector(), new_collector()
    assert shown(first, published(api)) == shown(second, published(api))
    puts = [a for a in api.asked if a[0] == "PUT"]
    assert len(puts) == 2  # the Secret and the ConfigMap, once


def test_simultaneous_starts_agree_on_one_authority(api, new_collector):
    """All read the Secret empty; of those that write one wins, the others take what it wrote."""
    barrier = threading.Barrier(4)
    answer = api.answer

    def together(method, path, body):
        got = answer(method, path, body)
        if method == "GET" and path.endswith("/secrets/tls") and "data" not in got[1]:
            barrier.wait(30)
        return got

    api.answer = together
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        four = list(pool.map(lambda _: new_collector(), range(4)))
    assert sum(a == ("PUT", f"/api/v1/namespaces/{NAMESPACE}/secrets/tls")
               for a in api.asked) == 4
    ca = published(api)
    assert ca == api.secret("ca.crt")
    assert len({shown(c, ca) for c in four}) == 1


def test_other_data_in_the_secret_and_config_map_is_kept(api, new_collector):
    api.put("configmaps/ca", {"note": "ours"})
    api.objects["configmaps/ca"]["metadata"]["labels"] = {"a": "b"}
    new_collector()
    assert api.objects["configmaps/ca"]["data"]["note"] == "ours"
    assert api.objects["configmaps/ca"]["metadata"]["labels"] == {"a": "b"}


def test_a_damaged_authority_is_an_error_and_never_replaced(api, new_collector):
    new_collector().kill()
    data = api.objects["secrets/tls"]["data"]
    good = dict(data)
    for damage in ({"ca.key": "!"}, {"ca.key": base64.b64encode(b"no key").decode()},
                   {"ca.crt": None}, {"ca.key": data["tls.key"]}):
        api.put("secrets/tls", {k: v for k, v in {**good, **damage}.items() if v is not None})
        before = dict(api.objects["secrets/tls"]["data"])
        with pytest.raises(AssertionError, match="damaged"):
            new_collector()
        assert api.objects["secrets/tls"]["data"] == before


def test_a_damaged_server_certificate_is_renewed_under_the_same_authority(api, new_collector):
    new_collector().kill()
    ca, old = api.secret("ca.crt"), api.secret("tls.crt")
    api.put("secrets/tls", {**api.objects["secrets/tls"]["data"], "tls.key": "AAAA"})
    c = new_collector()
    assert api.secret("ca.crt") == ca and api.secret("tls.crt") != old
    shown(c, ca)


def test_a_certificate_near_its_end_is_renewed(api, new_collector, tmp_path):
    new_collector().kill()
    for name in ("ca.crt", "ca.key", "tls.key"):
        (tmp_path / name).write_text(api.secret(name))
    subprocess.run(["openssl", "req", "-new", "-key", "tls.key", "-subj", "/CN=x", "-out", "csr"],
                   cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "ext").write_text(f"subjectAltName=DNS:{HOST}\n")
    subprocess.run(["openssl", "x509", "-req", "-in", "csr", "-CA", "ca.crt", "-CAkey", "ca.key",
                    "-days", "59", "-extfile", "ext", "-out", "short"],
                   cwd=tmp_path, check=True, capture_output=True)
    short = (tmp_path / "short").read_bytes()
    api.put("secrets/tls", {**api.objects["secrets/tls"]["data"],
                            "tls.crt": base64.b64encode(short).decode()})
    c = new_collector()
    assert api.secret("tls.crt") != short.decode()
    assert shown(c, published(api)) == ssl.PEM_cert_to_DER_cert(api.secret("tls.crt"))


def test_missing_objects_and_rights_are_reported(api, new_collector):
    api.forbidden.add(("PUT", "tls"))
    with pytest.raises(AssertionError, match="may not get and update secrets tls: apply deploy"):
        new_collector()
    del api.objects["secrets/tls"]
    with pytest.raises(AssertionError, match="there is no secrets tls: apply deploy/k8s"):
        new_collector()


def test_the_start_waits_for_the_api_server(api, new_collector):
    api.fail = 503
    threading.Timer(3, lambda: setattr(api, "fail", None)).start()
    assert shown(new_collector(), published(api))


def test_a_new_certificate_is_served_without_a_restart(api, collector):
    """Another replica renewed, or somebody emptied the Secret: both within a minute or so."""
    ca, pid = published(api), collector.process.pid
    old = shown(collector, ca)
    with requests.Session() as session:
        session.verify, session.trust_env = collector.ca, False
        health = collector.url("/healthz")
        assert session.get(health, timeout=30).status_code == 200
        data = dict(api.objects["secrets/tls"]["data"])
        del data["tls.crt"], data["tls.key"]
        api.put("secrets/tls", data)
        api.put("configmaps/ca", {})
        deadline = time.monotonic() + 75
        while shown(collector, ca) == old:
            assert time.monotonic() < deadline
            assert session.get(health, timeout=30).status_code == 200
            time.sleep(1)
    assert published(api) == ca == api.secret("ca.crt")
    assert collector.process.pid == pid and collector.process.poll() is None
