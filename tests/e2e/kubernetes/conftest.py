"""What the cluster tests share."""

import os

import pytest

import images
import install
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


class Installed:
    """podspy as kubectl apply -f deploy/k8s brings it, from images of this tree."""

    def __init__(self, folder):
        self.folder = folder
        self.forward, self.logs = install.Forward(), install.AgentLogs(folder)
        kubectl("apply", "-f", install.REPO / "deploy" / "k8s")
        self.collector, self.agent = install.wait_installed()
        self.logs.follow(self.agent)

    def close(self):
        self.forward.close()
        self.logs.close()


@pytest.fixture(scope="session")
def images_loaded():
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG is not set")
    images.load()


@pytest.fixture(scope="module")
def installed(images_loaded, tmp_path_factory):
    if not install.on_this_machine():
        pytest.skip("needs a cluster of one node that is this machine, and root")
    install.remove()
    was_there = install.SPOOL.exists()
    install.make_shop()
    it = Installed(tmp_path_factory.mktemp("installed"))
    try:
        yield it
    finally:
        it.close()
        install.remove()
        if not was_there:
            install.clear_spool()
