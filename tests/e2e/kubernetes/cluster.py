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


def load_image(tmp, program, name):
    """An image NAME:TAG that holds one static program."""
    root = tmp / "root"
    root.mkdir()
    shutil.copy(program, root / "program")
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
        self.stalled = False
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
                if s not in other or self.stalled:
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
