"""The cluster that KUBECONFIG names, and a way to it that a test can cut."""

import json
import os
import pathlib
import select
import shutil
import socket
import subprocess
import threading

REPO = pathlib.Path(__file__).resolve().parents[3]


def kubectl(*args, stdin=None, check=True):
    done = subprocess.run(["kubectl", *args], input=stdin, capture_output=True, text=True, timeout=120)
    if check and done.returncode:
        raise AssertionError(f"kubectl {' '.join(args)}: {done.stderr}")
    return done.stdout


def apply(*objects):
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def devcluster():
    """The program that packs images and loads them into the cluster's node."""
    path = os.environ.get("DEVCLUSTER") or REPO.parent / "shared" / "k8s" / "devcluster"
    return str(path) if os.access(path, os.X_OK) else shutil.which("devcluster")


def libraries(program):
    """The shared libraries of a program, and its loader."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return [word for line in said.splitlines() for word in line.split() if word.startswith("/")]


def load_image(tmp, program, name):
    """An image NAME:TAG that holds one program and what it is linked with."""
    root = tmp / "root"
    root.mkdir()
    shutil.copy(program, root / "program")
    for library in libraries(program):
        path = root / library.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.realpath(library), path)
    subprocess.run([devcluster(), "image", root, name, tmp / "image.tar", '["/program"]'], check=True)
    subprocess.run([devcluster(), "load", tmp / "image.tar"], check=True, stdout=subprocess.DEVNULL)


def server():
    """(host, port, path of the CA) of the API."""
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))["clusters"][0]["cluster"]
    host, port = config["server"].removeprefix("https://").rstrip("/").rsplit(":", 1)
    return host, int(port), config


class Way:
    """Forwards connections to the API server until it is cut: then there is nobody at its address."""

    def __init__(self, host, port):
        self.target = (host, port)
        self.connections = 0
        self.address = None
        self.open()

    def open(self):
        self.listener = socket.create_server(self.address or ("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.pairs = []
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(self.listener, self.closed), daemon=True)
        self.thread.start()

    def _run(self, listener, closed):
        other = {}
        while not closed.is_set():
            ready, _, _ = select.select([listener, *other], [], [], 0.05)
            for s in ready:
                if s is listener:
                    a, b = s.accept()[0], socket.create_connection(self.target)
                    other[a], other[b] = b, a
                    self.connections += 1
                    continue
                if s not in other:
                    continue
                try:
                    data = s.recv(65536)
                    if data:
                        other[s].sendall(data)
                except OSError:
                    data = b""
                if not data:
                    for end in (s, other.pop(s)):
                        other.pop(end, None)
                        end.close()
        for s in other:
            s.close()
        listener.close()

    def cut(self):
        self.closed.set()
        self.thread.join()


# --- what the tests of discovery put into it: an image with one static program, a namespace, accounts

IMAGE = "podspy-test/family:1"
NS = "podspy-discover"
# Not podspy.dev: an agent that is installed in the cluster leaves these pods alone.
PREFIX = "discover.test"


def account(name, rules):
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": NS}},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
         "metadata": {"name": f"{NS}-{name}"}, "rules": rules},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
         "metadata": {"name": f"{NS}-{name}"},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"{NS}-{name}"},
         "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NS}]},
    ]


PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
EVENTS = {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}


def spec(*containers, **more):
    return {"terminationGracePeriodSeconds": 1,
            "containers": [{"name": name, "image": IMAGE, "imagePullPolicy": "Never", **extra}
                           for name, extra in containers], **more}


def pod(name, annotations=None, pod_spec=None):
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": NS, "annotations": annotations or {}},
            "spec": pod_spec or spec(("web", {}))}


def token_of(name, seconds=3600):
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
               "spec": {"expirationSeconds": seconds}}
    made = kubectl("create", "--raw", f"/api/v1/namespaces/{NS}/serviceaccounts/{name}/token", "-f", "-",
                   stdin=json.dumps(request))
    return json.loads(made)["status"]["token"]


def wait_running(name):
    kubectl("wait", "--for=condition=Ready", f"pod/{name}", "-n", NS, "--timeout=60s")
