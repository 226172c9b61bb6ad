"""podspy in the cluster as a user applies it, the services of the tests, and the ways to ask."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

import requests
from cluster import apply, kubectl
from images import VERSION

import parts

REPO = pathlib.Path(__file__).resolve().parents[3]
SPACE = "podspy"
SHOP = "podspy-shop"
SPOOL = pathlib.Path("/var/lib/podspy")  # of the node, as 40-agent.yaml mounts it
FOLDER = pathlib.Path(__file__).parent / "service"


def get(*args):
    return json.loads(kubectl("get", *args, "-o", "json"))


def pods(namespace, selector):
    """The pods that are not being deleted."""
    found = get("pods", "-n", namespace, "-l", selector)["items"]
    return [p for p in found if "deletionTimestamp" not in p["metadata"]]


def names(namespace, selector):
    return sorted(p["metadata"]["name"] for p in pods(namespace, selector))


AGENT = "app.kubernetes.io/component=agent"
COLLECTOR = "app.kubernetes.io/component=collector"


def ready(namespace, selector, n=1):
    """The names of exactly n pods, all of them ready; else nothing."""
    found = pods(namespace, selector)
    up = [p for p in found
          if any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", []))]
    return [p["metadata"]["name"] for p in up] if len(found) == len(up) == n else None


def why(namespace):
    return lambda: kubectl("get", "pods,events", "-n", namespace, check=False)[-4000:]


def wait_installed(seconds=120):
    collector = parts.wait_until(why(SPACE), lambda: ready(SPACE, COLLECTOR), seconds, 0.5)
    agent = parts.wait_until(why(SPACE), lambda: ready(SPACE, AGENT), seconds, 0.5)
    return collector[0], agent[0]


def remove():
    kubectl("delete", "namespace", SPACE, SHOP, "--ignore-not-found", "--wait=true")
    for kind in ("clusterrole", "clusterrolebinding"):
        kubectl("delete", kind, "podspy-agent", "podspy-collector", "--ignore-not-found")
    kubectl("delete", "priorityclass", "podspy-agent", "--ignore-not-found")


def clear_spool():
    """Of this machine, where the cluster's one node is this machine."""
    shutil.rmtree(SPOOL, ignore_errors=True)


# --- what the cluster runs for the tests ---

def service(name, replicas=2, annotations=None):
    """A gunicorn Deployment whose workers have a multiprocessing pool each (service/shop.py)."""
    labels = {"app": name}
    sources = {p.name: p.read_text() for p in FOLDER.glob("*.py")}
    container = {
        "name": "web", "image": f"podspy/demo:{VERSION}", "imagePullPolicy": "IfNotPresent",
        "command": ["gunicorn", "--config", "/srv/shop/settings.py", "shop:app"],
        "workingDir": "/srv/shop",
        "env": [{"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
        "volumeMounts": [{"name": "source", "mountPath": "/srv/shop"}, {"name": "tmp", "mountPath": "/tmp"}]}
    pod_spec = {
        "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "runAsGroup": 65534},
        "containers": [container],
        "volumes": [{"name": "source", "configMap": {"name": name}}, {"name": "tmp", "emptyDir": {}}]}
    template = {"metadata": {"labels": labels, "annotations": annotations or {}}, "spec": pod_spec}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": SHOP}, "data": sources},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": SHOP},
         "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}}]


def make_shop():
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}})


def uid(name, namespace=SHOP):
    return get("pod", name, "-n", namespace)["metadata"]["uid"]


def processes_of(pod_uid):
    """{pid: command line} of a pod on this machine, by cgroups; without the pod's sandbox."""
    found = {}
    marks = (pod_uid, pod_uid.replace("-", "_"))
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(m in (path / "cgroup").read_text() for m in marks):
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                if line and line != "/pause":
                    found[int(path.name)] = line
    return found


def file_in(name, path, namespace=SPACE):
    """The text of a file of a pod whose image holds no cat: through a process of the pod."""
    pid = min(processes_of(uid(name, namespace)))
    root = pathlib.Path(f"/proc/{pid}/root")
    return (root / path.lstrip("/")).read_text()


# --- ways to ask ---

class Forward:
    """kubectl port-forward to the collector's loopback listener, started again when it breaks."""

    def __init__(self):
        self.process, self.url = None, None

    def _open(self):
        self.close()
        self.process = subprocess.Popen(
            ["kubectl", "-n", SPACE, "port-forward", "deployment/podspy-collector", ":8080"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        said = re.search(r"127\.0\.0\.1:(\d+)", self.process.stdout.readline())
        self.url = said and f"http://127.0.0.1:{said[1]}"

    def get(self, path, **params):
        """The answer; None while the collector is not reached."""
        params.setdefault("from", "-1h")
        for _ in range(2):
            if not self.url or self.process.poll() is not None:
                self._open()
            with contextlib.suppress(requests.RequestException, OSError):
                if self.url:
                    return requests.get(self.url + path, params=params, timeout=20)
            self.close()
        return None

    def stacks(self, **params):
        answer = self.get("/profiles", format="collapsed", **params)
        return parts.collapsed(answer.text) if answer is not None and answer.ok else {}

    def processes(self, **params):
        answer = self.get("/pods", **params)
        return parts.flat(answer.json()) if answer is not None and answer.ok else []

    def close(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process.stdout.close()
        self.process, self.url = None, None


class AgentLogs:
    """Everything that each agent pod says, followed from its start to its end."""

    def __init__(self, folder):
        self.folder, self.running = pathlib.Path(folder), {}

    def follow(self, name):
        """Also once more, from the beginning, after the API server went away and took the stream with it."""
        path = self.folder / f"{name}.log"
        if name in self.running:
            self.running[name].__exit__()
            path.unlink()
        self.running[name] = parts.Process(["kubectl", "-n", SPACE, "logs", "-f", name], path)

    def text(self, name):
        return self.running[name].log

    def ended(self, name, seconds=30):
        """The agent's total counts, once it has ended."""
        pattern = r'msg="podspy agent ended".* samples=(\d+)'
        parts.wait_until(lambda: "the agent's last words: " + self.text(name)[-1500:],
                         lambda: re.search(pattern, self.text(name)), seconds)
        return int(re.findall(pattern, self.text(name))[-1])

    def close(self):
        for process in self.running.values():
            process.__exit__()


def stamp(line):
    """The time of a line of the log, as seconds."""
    said = re.search(r"time=(\S+?)\.(\d+)Z", line)
    return (time.mktime(time.strptime(said[1] + " UTC", "%Y-%m-%dT%H:%M:%S %Z")) - time.timezone
            + int(said[2]) / 1000)


def on_this_machine():
    """Are the node's processes those of this machine? The tests of what the agent opens need it."""
    address = get("nodes")["items"]
    return len(address) == 1 and os.path.isdir("/proc/1") and parts.is_root()
