"""What the cluster tests share."""

import os

import pytest
from cluster import EVENTS, IMAGE, NS, PODS, account, apply, kubectl, load_image


@pytest.fixture(scope="session")
def discover_namespace(tmp_path_factory, program):
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG is not set")
    if kubectl("get", "namespace", NS, "--ignore-not-found"):
        kubectl("delete", "namespace", NS, "--wait=true")
    load_image(tmp_path_factory.mktemp("image"), program("family"), IMAGE)
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}},
          *account("agent", [PODS]), *account("writer", [PODS, EVENTS]), *account("nobody", []))
    yield
    kubectl("delete", "namespace", NS, "--wait=false")
    for name in ("agent", "writer", "nobody"):
        kubectl("delete", "clusterrole,clusterrolebinding", f"{NS}-{name}")
