"""Trust between agents, readers and the collector, as a real API server sees it. The collector runs on
this host, with the token of its account and the rights that deploy/k8s gives it."""

import base64
import concurrent.futures
import json
import pathlib
import socket
import ssl
import sys
import time

import pytest
import requests

import manifests
from manifests import kubectl, token

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "contract" / "collector"))

from collector import Collector, usual_batch  # noqa: E402

NAMESPACE = "podspy-trust-test"
AUDIENCE = "podspy-collector"


@pytest.fixture(scope="module")
def namespace():
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true")
    manifests.apply(manifests.moved(manifests.objects("00-namespace.yaml"), NAMESPACE))
    rest = manifests.moved(manifests.objects("10-access.yaml", "20-trust.yaml"), NAMESPACE)
    service = [o for o in manifests.moved(manifests.objects("30-collector.yaml"), NAMESPACE)
               if o["kind"] == "Service"]
    manifests.apply(rest + service)
    kubectl("create", "serviceaccount", "someone", "-n", NAMESPACE)
    yield NAMESPACE
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    for o in rest:
        if o["kind"].startswith("Cluster"):
            kubectl("delete", o["kind"], o["metadata"]["name"], "--ignore-not-found")


@pytest.fixture(scope="module")
def new_collector(podspy_collector, tmp_path_factory, namespace):
    running = []

    def start():
        folder = tmp_path_factory.mktemp("trust")
        url, ca = manifests.server(folder)
        (folder / "token").write_text(token(namespace, "podspy-collector"))
        config = {"tls": {"secret": "podspy-collector-tls", "config_map": "podspy-collector-ca"},
                  "auth": {"ingest": ["kubernetes"], "read": ["kubernetes"],
                           "kubernetes": {"url": url, "ca_file": str(ca), "namespace": namespace,
                                          "token_file": str(folder / "token")}}}
        running.append(Collector(podspy_collector, folder / "data", config=json.dumps(config)))
        return running[-1]

    yield start
    for c in running:
        c.stop()


@pytest.fixture(scope="module")
def pair(new_collector):
    """Two collectors that found the Secret empty at the same time."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda _: new_collector(), range(2)))


@pytest.fixture(scope="module")
def collector(pair):
    return pair[0]


def published():
    return manifests.get("configmap", "podspy-collector-ca", "-n", NAMESPACE)["data"]["ca.crt"]


def secret():
    return manifests.get("secret", "podspy-collector-tls", "-n", NAMESPACE)


def shown(collector, ca):
    context = ssl.create_default_context(cadata=ca)
    with socket.create_connection(("127.0.0.1", collector.https), timeout=30) as plain:
        with context.wrap_socket(plain, server_hostname="podspy-collector") as tls:
            return tls.getpeercert(binary_form=True)


def push(collector, bearer):
    return collector.push(usual_batch().bytes(),
                          Authorization=f"Bearer {bearer}" if bearer else "").status_code


def read(collector, bearer):
    return requests.get(collector.url("/pods"), verify=collector.ca, timeout=30,
                        headers={"Authorization": f"Bearer {bearer}"}).status_code


def stored(collector):
    return len(collector.get_plain("/pods").json()["pods"])


def test_replicas_that_start_at_once_have_one_authority_and_publish_it(pair):
    ca = published()
    assert ca == manifests.text_of(secret(), "ca.crt")
    assert shown(pair[0], ca) == shown(pair[1], ca)


def test_applying_the_manifest_again_leaves_what_the_collector_made(pair):
    before, ca = secret()["data"], published()
    manifests.apply(manifests.moved(manifests.objects("20-trust.yaml"), NAMESPACE))
    assert secret()["data"] == before and published() == ca


def changed(bearer, **claims):
    """The token with other claims and the old signature: a forgery."""
    head, body, signature = bearer.split(".")
    old = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    new = base64.urlsafe_b64encode(json.dumps({**old, **claims}).encode()).rstrip(b"=").decode()
    return f"{head}.{new}.{signature}"


def test_other_accounts_are_refused_and_nothing_is_stored(collector):
    agent = token(NAMESPACE, "podspy-agent", AUDIENCE)
    someone = token(NAMESPACE, "someone", AUDIENCE)
    assert push(collector, None) == 401
    assert push(collector, token(NAMESPACE, "podspy-agent", "vault")) == 401
    assert push(collector, token(NAMESPACE, "podspy-agent")) == 401  # for the API server
    assert push(collector, someone) == 403
    assert push(collector, changed(agent, exp=int(time.time()) - 1)) == 401
    assert push(collector, changed(agent, exp=int(time.time()) + 86400)) == 401
    assert push(collector, changed(someone, sub=f"system:serviceaccount:{NAMESPACE}:podspy-agent",
                                   **{"kubernetes.io": {}})) == 401
    assert stored(collector) == 0


def test_the_agents_token_is_accepted(collector):
    assert push(collector, token(NAMESPACE, "podspy-agent", AUDIENCE)) == 200
    assert stored(collector) == 1


def test_a_token_ends_with_its_pod(collector):
    pod = {"apiVersion": "v1", "kind": "Pod",
           "metadata": {"name": "brief", "namespace": NAMESPACE},
           "spec": {"serviceAccountName": "podspy-agent", "nodeName": "nowhere",
                    "containers": [{"name": "c", "image": "none"}]}}
    kubectl("create", "-f", "-", stdin=json.dumps(pod))
    bound = token(NAMESPACE, "podspy-agent", AUDIENCE, bound_to="brief")
    time.sleep(1.1)  # in one second it would be the same token
    kept = token(NAMESPACE, "podspy-agent", AUDIENCE, bound_to="brief")
    assert push(collector, kept) == 200
    kubectl("delete", "pod", "brief", "-n", NAMESPACE, "--grace-period=0", "--force")
    assert push(collector, bound) == 401
    deadline = time.monotonic() + 75  # what was granted holds for a minute at most
    while push(collector, kept) != 401:
        assert time.monotonic() < deadline
        time.sleep(3)


def test_whoever_may_get_the_service_may_read(collector):
    assert read(collector, token(NAMESPACE, "someone")) == 403
    assert read(collector, token(NAMESPACE, "podspy-agent", AUDIENCE)) == 403
    kubectl("create", "rolebinding", "someone-reads", "-n", NAMESPACE, "--role=podspy-reader",
            f"--serviceaccount={NAMESPACE}:someone")
    for audiences in ((), (AUDIENCE,)):
        deadline = time.monotonic() + 15  # a refusal holds for ten seconds
        while read(collector, token(NAMESPACE, "someone", *audiences)) != 200:
            assert time.monotonic() < deadline
            time.sleep(1)
    assert read(collector, token(NAMESPACE, "someone", "vault")) == 401
    assert push(collector, token(NAMESPACE, "someone", AUDIENCE)) == 403


@pytest.mark.parametrize("account, verb, what, answer", [
    ("collector", "get", "secrets/podspy-collector-tls", "yes"),
    ("collector", "update", "secrets/podspy-collector-tls", "yes"),
    ("collector", "delete", "secrets/podspy-collector-tls", "no"),
    ("collector", "get", "secrets/another", "no"),
    ("collector", "list", "secrets", "no"),
    ("collector", "create", "secrets", "no"),
    ("collector", "update", "configmaps/podspy-collector-ca", "yes"),
    ("collector", "update", "configmaps/podspy-collector", "no"),
    ("collector", "list", "pods", "no"),
    ("agent", "watch", "pods", "yes"),
    ("agent", "create", "events", "yes"),
    ("agent", "list", "secrets", "no"),
    ("agent", "get", "secrets/podspy-collector-tls", "no"),
    ("agent", "create", "pods", "no"),
    ("agent", "create", "pods/exec", "no"),
    ("agent", "get", "nodes/proxy", "no"),
    ("agent", "create", "tokenreviews.authentication.k8s.io", "no"),
])
def test_accounts_may_do_what_they_need_and_no_more(namespace, account, verb, what, answer):
    got = kubectl("auth", "can-i", verb, what, "-n", namespace, "--as",
                  f"system:serviceaccount:{namespace}:podspy-{account}", check=False)
    assert got.strip() == answer


def test_the_server_accepts_the_manifests():
    names = sorted(p.name for p in manifests.FOLDER.glob("*.yaml"))
    assert names[0] == "00-namespace.yaml"
    manifests.apply(manifests.objects("00-namespace.yaml"))  # a dry run makes no namespace
    kubectl("apply", "--dry-run=server", "-f", manifests.FOLDER)
    # With -k the same objects come out.
    built = kubectl("kustomize", manifests.FOLDER)
    assert built.count("\nkind: ") + built.startswith("kind: ") == len(manifests.objects(*names))
