"""Pods of this node found through a real API server: annotations, restarts, ends, and its absence.

Times are printed: pytest -s shows them.
"""

import base64
import json
import os
import signal
import subprocess
import threading
import time

import pytest
from cluster import IMAGE, NS, PREFIX, Way, apply, kubectl, pod, server, spec, token_of, wait_running

class Watcher:
    """discover_pods on this host, reading the API by a way of its own."""

    def __init__(self, program, tmp, account_name="agent", token=None):
        host, port, config = server()
        self.way = Way(host, port)
        self.token_file = tmp / "token"
        self.token_file.write_text(token or token_of(account_name))
        ca = tmp / "ca.crt"
        ca.write_bytes(base64.b64decode(config["certificate-authority-data"]))
        yaml = tmp / "agent.yaml"
        yaml.write_text(json.dumps({"discovery": {
            "kubernetes": "on", "docker": "off", "annotation_prefix": PREFIX,
            "kubernetes_url": f"https://127.0.0.1:{self.way.address[1]}",
            "kubernetes_token_file": str(self.token_file), "kubernetes_ca_file": str(ca)}}))
        node = kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
        self.process = subprocess.Popen([program("discover_pods"), yaml, "300"], stdout=subprocess.PIPE,
                                        text=True, env={**os.environ, "NODE_NAME": node})
        self.events, self.problems = [], []
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            said = json.loads(line)
            with self.changed:
                if "event" in said and said["namespace"] == NS:
                    self.events.append(said)
                if "problems" in said:
                    self.problems = said["problems"]
                self.changed.notify_all()

    def wait(self, what, seconds, condition):
        began = time.time()
        with self.changed:
            assert self.changed.wait_for(condition, seconds), f"not within {seconds} s: {what}; {self.events[-6:]}"
        print(f"\n  {what}: {time.time() - began:.2f} s", end="")
        return time.time() - began

    def inside(self, name):
        """Processes of the pod that are in now, by pid."""
        now = {}
        for e in self.events:
            if e["pod"] == name:
                now.pop(e["pid"], None)
                if e["event"] != "removed":
                    now[e["pid"]] = e
        return now

    def problems_of(self, name):
        return [p["problem"] for p in self.problems if p["pod"] == name and p["namespace"] in ("", NS)]

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.way.cut()


@pytest.fixture
def watcher(discover_namespace, program, tmp_path):
    made = []

    def make(*args, **kwargs):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Watcher(program, folder, *args, **kwargs))
        return made[-1]

    yield make
    for w in made:
        w.close()


def annotate(name, *what):
    kubectl("annotate", "--overwrite", "pod", name, "-n", NS, *what)


def test_an_annotation_takes_effect_within_two_seconds_both_ways(watcher):
    apply(pod("plain"))
    wait_running("plain")
    w = watcher()
    w.wait("told that it is not annotated", 20,
           lambda: any("not annotated" in p for p in w.problems_of("plain")))
    assert not w.inside("plain")

    annotate("plain", "discover.test/profile=true")
    # the parent and its two children, and not the pod's sandbox
    assert w.wait("annotated: in", 10, lambda: len(w.inside("plain")) == 3) < 2
    one = next(iter(w.inside("plain").values()))
    assert (one["container"], one["image"], one["service"]) == ("web", IMAGE, "plain")
    assert one["uid"] == kubectl("get", "pod", "plain", "-n", NS, "-o", "jsonpath={.metadata.uid}")
    assert {e["command"] for e in w.inside("plain").values()} == {"program"}

    annotate("plain", "discover.test/rate=50")
    assert w.wait("rate changed", 10, lambda: [e["rate"] for e in w.inside("plain").values()] == [50] * 3) < 2

    annotate("plain", "discover.test/profile-")
    assert w.wait("annotation removed: out", 10, lambda: not w.inside("plain")) < 2
    assert all(e["lives"] for e in w.events if e["event"] == "removed")

    annotate("plain", "discover.test/profile=true")
    assert w.wait("annotated again: in", 10, lambda: len(w.inside("plain")) == 3) < 2
    annotate("plain", "discover.test/profile=false")
    assert w.wait("said no: out", 10, lambda: not w.inside("plain")) < 2
    kubectl("delete", "pod", "plain", "-n", NS, "--wait=false")


def test_restarted_containers_and_deleted_pods_are_followed(watcher):
    w = watcher()
    apply(pod("again", {"discover.test/profile": "true"}))
    w.wait("pod created: in", 30, lambda: len(w.inside("again")) == 3)
    first = w.inside("again")
    assert len({e["container_id"] for e in first.values()}) == 1
    os.kill(next(p for p, e in first.items() if e["ppid"] not in first), signal.SIGKILL)
    w.wait("killed: restarted and in", 40,
           lambda: len(w.inside("again")) == 3 and not set(first) & set(w.inside("again")))
    assert {e["container_id"] for e in w.inside("again").values()} != {e["container_id"] for e in first.values()}
    kubectl("delete", "pod", "again", "-n", NS, "--wait=false")
    w.wait("pod deleted: out", 30, lambda: not w.inside("again"))


def test_only_the_named_containers_are_opted_in(watcher):
    w = watcher()
    init = [{"name": "prepare", "image": IMAGE, "imagePullPolicy": "Never", "args": ["6"],
             "command": ["/program"]}]
    apply(pod("some", {"discover.test/profile": "true", "discover.test/containers": "web,absent"},
              spec(("web", {}), ("side", {}))),
          pod("prepared", {"discover.test/profile": "true"},
              spec(("web", {}), initContainers=init, restartPolicy="Never")),
          pod("hostpid", {"discover.test/profile": "true"}, spec(("web", {}), hostPID=True)))
    w.wait("the chosen container is in", 40, lambda: len(w.inside("some")) == 3)
    w.wait("the pod with hostPID is in", 40, lambda: len(w.inside("hostpid")) == 3)
    w.wait("the init container is in", 40, lambda: any(
        e["container"] == "prepare" for e in w.inside("prepared").values()))
    w.wait("a name that is wrong is told", 10, lambda: any("absent" in p for p in w.problems_of("some")))
    time.sleep(3)
    assert {e["container"] for e in w.events if e["pod"] == "some"} == {"web"}
    w.wait("a container that failed is told", 20, lambda: any(
        "prepare does not run: Error" in p for p in w.problems_of("prepared")))
    kubectl("delete", "pod", "some", "prepared", "hostpid", "-n", NS, "--wait=false")


def owned(kind, api, name, more):
    template = {"metadata": {"labels": {"app": name}, "annotations": {"discover.test/profile": "true"}},
                "spec": spec(("web", {}), **more.pop("pod", {}))}
    selector = {} if kind == "Job" else {"selector": {"matchLabels": {"app": name}}}
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": NS},
            "spec": {"template": template, **selector, **more}}


def test_the_service_is_named_after_the_pods_owner(watcher):
    w = watcher()
    job = owned("Job", "batch/v1", "count", {"pod": {"restartPolicy": "Never"}})
    cron = {"apiVersion": "batch/v1beta1" if "batch/v1beta1" in kubectl("api-versions") else "batch/v1",
            "kind": "CronJob", "metadata": {"name": "nightly", "namespace": NS},
            "spec": {"schedule": "* * * * *", "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": job["spec"]}}}
    objects = [owned("Deployment", "apps/v1", "front", {"replicas": 2}), job, cron,
               owned("StatefulSet", "apps/v1", "db", {"serviceName": "db"}),
               owned("DaemonSet", "apps/v1", "everywhere", {})]
    apply(*objects)
    want = {"front": 6, "count": 3, "db": 3, "everywhere": 3, "nightly": 3}

    def counts():
        now = {}
        for name in {e["pod"] for e in w.events}:
            for e in w.inside(name).values():
                if e["service"] in want:
                    now[e["service"]] = now.get(e["service"], 0) + 1
        return now

    w.wait("Deployment, Job, CronJob, StatefulSet and DaemonSet are in", 100, lambda: counts() == want)
    for o in objects:
        kubectl("delete", o["kind"], o["metadata"]["name"], "-n", NS, "--wait=false")
    kubectl("delete", "job", "-n", NS, "--all", "--wait=false")


def test_known_pods_stay_opted_in_while_the_api_is_away(watcher):
    w = watcher()
    apply(pod("steady", {"discover.test/profile": "true"}))
    w.wait("in", 30, lambda: len(w.inside("steady")) == 3)
    w.way.cut()
    w.wait("told that the API is away", 20, lambda: any("127.0.0.1" in p["problem"] for p in w.problems))
    annotate("steady", "discover.test/rate=7")  # by kubectl's own way
    time.sleep(12)
    assert len(w.inside("steady")) == 3
    assert not [e for e in w.events if e["event"] == "removed" and e["pod"] == "steady"]
    w.way.open()
    w.wait("API back: what changed meanwhile is known", 20,
           lambda: [e["rate"] for e in w.inside("steady").values()] == [7] * 3)
    w.wait("told no more", 10, lambda: not any("127.0.0.1" in p["problem"] for p in w.problems))
    annotate("steady", "discover.test/profile-")
    assert w.wait("annotation removed: out", 10, lambda: not w.inside("steady")) < 2
    kubectl("delete", "pod", "steady", "-n", NS, "--wait=false")


def test_a_wrong_value_is_reported_with_one_event_where_allowed(watcher):
    def events():
        found = kubectl("get", "events", "-n", NS, "-o", "json",
                        "--field-selector", "reason=WrongAnnotation,involvedObject.name=wrong")
        return json.loads(found)["items"]

    apply(pod("wrong", {"discover.test/profile": "true", "discover.test/rate": "fast"}))
    wait_running("wrong")
    w = watcher()  # may not write events
    w.wait("told in the problems", 20, lambda: any("rate" in p and "1 to 1000" in p for p in w.problems_of("wrong")))
    w.wait("in with the default rate", 20, lambda: {e["rate"] for e in w.inside("wrong").values()} == {100})
    time.sleep(2)
    assert not events()
    watcher("writer"), watcher("writer")
    end = time.time() + 15
    while time.time() < end and not events():
        time.sleep(0.2)
    time.sleep(2)
    (event,) = events()
    assert event["type"] == "Warning" and "1 to 1000" in event["message"]
    assert event["message"] in kubectl("describe", "pod", "wrong", "-n", NS)
    kubectl("delete", "pod", "wrong", "-n", NS, "--wait=false")


def test_a_refused_token_is_reported_and_a_new_one_used(watcher):
    apply(pod("waiting", {"discover.test/profile": "true"}))
    wait_running("waiting")
    w = watcher("nobody")
    w.wait("403 is told", 20, lambda: any("403" in p["problem"] and "watch" in p["problem"] for p in w.problems))
    assert not w.inside("waiting")
    w.token_file.write_text("not.a.token")
    w.wait("401 is told", 20, lambda: any("401" in p["problem"] for p in w.problems))
    w.token_file.write_text(token_of("agent"))
    w.wait("the new token is taken", 20, lambda: len(w.inside("waiting")) == 3)
    kubectl("delete", "pod", "waiting", "-n", NS, "--wait=false")


def test_a_static_pod_is_found_by_its_mirror_pod(watcher):
    """Needs the kubelet's folder of static pods, so a cluster on this machine."""
    folder = os.environ.get("STATIC_PODS") or os.path.expanduser("~/.cache/devcluster/manifests")
    if not os.path.isdir(folder):
        pytest.skip("STATIC_PODS is not set")
    w = watcher()
    path = os.path.join(folder, "podspy-static.yaml")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(pod("static", {"discover.test/profile": "true"}), f)
    try:
        node = kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
        w.wait("the static pod is in", 60, lambda: len(w.inside(f"static-{node}")) == 3)
        (service,) = {e["service"] for e in w.inside(f"static-{node}").values()}
        assert service == "static"
    finally:
        os.unlink(path)
    w.wait("and out", 60, lambda: not w.inside(f"static-{node}"))
