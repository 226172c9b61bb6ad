"""Failures of pods, containers, agents, the collector, the API server and the node's disk. Everything comes back by
itself, and in the end the books are balanced: what the agents say they took is what the collector has, but for what is
reported as lost.

The collector is the one with a claim (deploy/kustomize/persistent), so that its pod may go. Each step prints
what it took: pytest -s shows it.
"""

import os
import pathlib
import re
import signal
import subprocess
import time

import pytest
from cluster import apply, devcluster, kubectl

import install
import parts
from install import AGENT, COLLECTOR, SHOP, SPACE

ROOM_KIB = 96  # of the spool, once the disk is "full": some 20 windows


def say(text):
    print(f"\n  {text}", end="", flush=True)


class Node:
    """The folders of the node that podspy uses here: a volume for the claim, and a disk of its own for the
    spool, whose size can be changed."""

    def __init__(self, folder):
        self.volume = folder / "volume"
        self.volume.mkdir()
        os.chown(self.volume, 65532, 65532)
        install.SPOOL.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "podspy-spool", install.SPOOL], check=True)

    def resize(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", install.SPOOL], check=True)

    def waiting(self):
        return list((install.SPOOL / "spool").glob("*.window"))

    def close(self):
        subprocess.run(["umount", "-l", install.SPOOL], check=True)
        install.SPOOL.rmdir()


def volume(path):
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "podspy-test-collector"},
            "spec": {"capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"],
                     "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": str(path)},
                     "claimRef": {"name": "podspy-collector", "namespace": SPACE}}}


class Lasting:
    """podspy with a claim, and windows of one second."""

    def __init__(self, folder):
        self.node = Node(folder)
        self.forward, self.logs = install.Forward(), install.AgentLogs(folder)
        apply(volume(self.node.volume))
        objects = kubectl("kustomize", str(install.REPO / "deploy" / "kustomize" / "persistent"))
        assert "interval: 10s" in objects
        kubectl("apply", "-f", "-", stdin=objects.replace("interval: 10s", "interval: 1s"))
        self.collector, agent = install.wait_installed()
        self.agents = []
        self.follow(agent)
        apply(*install.service("shop", annotations={"podspy.dev/profile": "true"}))
        parts.wait_until(install.why(SHOP), lambda: install.ready(SHOP, "app=shop", 2), 60, 0.5)

    def follow(self, agent):
        self.agents.append(agent)
        self.logs.follow(agent)

    def all_sampled(self, names, seconds=45):
        """Waits until each process of these pods that is there now has samples, new ones; how long it took."""
        began = time.time()
        before = {}

        def fresh():
            pids = {pid for name in names for pid in install.processes_of(install.uid(name))}
            now = {p.get("pid"): p["samples"] for p in self.forward.processes(namespace=SHOP)}
            for pid in pids & set(now):
                before.setdefault(pid, now[pid])
            # A pool's and a worker's processes, and the one above them.
            return len(pids) >= 7 * len(names) and all(now.get(p, 0) > before.get(p, now.get(p, 0)) for p in pids)

        parts.wait_until(lambda: (names, self.forward.processes(namespace=SHOP),
                                  self.logs.text(self.agents[-1])[-2000:]), fresh, seconds, 0.5)
        return time.time() - began

    def taken(self):
        """Samples that the agents say they took."""
        return sum(self.logs.ended(name) for name in self.agents)

    def close(self):
        self.forward.close()
        self.logs.close()
        try:
            install.remove()
            kubectl("delete", "persistentvolume", "podspy-test-collector", "--ignore-not-found")
        finally:
            self.node.close()


@pytest.fixture(scope="module")
def lasting(images_loaded, tmp_path_factory):
    if not install.on_this_machine() or install.SPOOL.exists():
        pytest.skip(f"needs a cluster of one node that is this machine, root, and no {install.SPOOL}")
    install.remove()
    install.make_shop()
    it = Lasting(tmp_path_factory.mktemp("lasting"))
    try:
        yield it
    finally:
        it.close()


def test_the_successor_of_a_deleted_pod_is_sampled(lasting):
    old = install.names(SHOP, "app=shop")
    lasting.all_sampled(old)
    kubectl("delete", "pod", old[0], "-n", SHOP, "--wait=false")
    names = parts.wait_until(install.why(SHOP), lambda: new_pods(old), 60, 0.5)
    say(f"its successor's processes all have samples {lasting.all_sampled(names):.1f} s after it was ready")


def new_pods(old):
    up = install.ready(SHOP, "app=shop", 2)
    return up if up and up != old else None


def test_a_restarted_container_is_sampled_again(lasting):
    name = install.names(SHOP, "app=shop")[0]
    old = install.processes_of(install.uid(name))
    os.kill(min(old, key=started), signal.SIGKILL)  # the one that the runtime started
    parts.wait_until(install.why(SHOP), lambda: restarts(name) == 1 and install.ready(SHOP, "app=shop", 2), 60, 0.5)
    assert not set(old) & set(install.processes_of(install.uid(name)))
    say(f"its new processes all have samples {lasting.all_sampled([name]):.1f} s after it was ready")


def started(pid):
    """In clock ticks since boot: process ids may have wrapped around."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
        return int(f.read().rpartition(")")[2].split()[19])


def restarts(name, namespace=SHOP):
    return sum(c["restartCount"] for c in install.get("pod", name, "-n", namespace)["status"]["containerStatuses"])


def test_a_deleted_agent_is_replaced_and_sends_its_spool(lasting):
    began = time.time()
    old = lasting.agents[-1]
    kubectl("delete", "pod", old, "-n", SPACE, "--wait=false")
    new = parts.wait_until(install.why(SPACE), lambda: other(AGENT, old), 90, 0.5)
    lasting.follow(new)
    say(f"another one is ready after {time.time() - began:.1f} s")
    say(f"all have new samples {lasting.all_sampled(install.names(SHOP, 'app=shop')):.1f} s later")
    lasting.logs.ended(old)


def other(selector, old):
    up = install.ready(SPACE, selector)
    return up[0] if up and up[0] != old else None


def test_a_deleted_collector_is_replaced_and_gets_the_windows(lasting):
    began = time.time()
    stored = sum(lasting.forward.stacks(idle=1).values())
    assert stored > 0
    kubectl("delete", "pod", lasting.collector, "-n", SPACE, "--wait=false")
    lasting.collector = parts.wait_until(install.why(SPACE), lambda: other(COLLECTOR, lasting.collector), 90, 0.5)
    say(f"another one is ready after {time.time() - began:.1f} s")
    say(f"all have new samples {lasting.all_sampled(install.names(SHOP, 'app=shop'), 90):.1f} s later")
    assert sum(lasting.forward.stacks(idle=1).values()) > stored


def api_server():
    """(process id of the API server, what starts it again) where devcluster started it."""
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    home = pathlib.Path(os.environ.get("DEVCLUSTER_HOME") or pathlib.Path(cache) / "devcluster")
    path = home / "run" / "kube-apiserver.pid"
    if not devcluster() or not path.exists():
        pytest.skip("only a devcluster's API server can be stopped from here")
    return int(path.read_text()), [devcluster(), "up"]


def test_half_a_minute_without_the_api_server_loses_nothing(lasting):
    pid, start_again = api_server()
    names = install.names(SHOP, "app=shop")
    before = {p.get("pid"): p["windows"] for p in lasting.forward.processes(namespace=SHOP)}
    began = time.time()
    os.kill(pid, signal.SIGKILL)  # at SIGTERM it would serve what is under way for up to a minute
    try:
        parts.wait_until("the API server ends", lambda: not pathlib.Path(f"/proc/{pid}").exists(), 20)
        away = time.time()
        time.sleep(30)
    finally:
        subprocess.run(start_again, check=True, capture_output=True, timeout=300)
    say(f"the API server was away for {time.time() - away:.0f} s")
    lasting.logs.follow(lasting.agents[-1])
    say(f"all have new samples {lasting.all_sampled(names, 90):.1f} s later")
    elapsed = time.time() - began
    after = {p.get("pid"): p["windows"] for p in lasting.forward.processes(namespace=SHOP)}
    pids = {p for name in names for p in install.processes_of(install.uid(name))}
    fewest = min(after[p] - before[p] for p in pids)
    say(f"of {elapsed:.0f} windows of a second each process has at least {fewest}")
    assert fewest >= elapsed * 0.8 - 5  # all were sampled meanwhile
    assert install.names(SPACE, AGENT) == lasting.agents[-1:] and not restarts(lasting.agents[-1], SPACE)
    assert install.names(SPACE, COLLECTOR) == [lasting.collector] and not restarts(lasting.collector, SPACE)


def test_a_full_node_without_a_collector_reports_its_losses(lasting):
    kubectl("scale", "deployment", "podspy-collector", "-n", SPACE, "--replicas=0")
    parts.wait_until(install.why(SPACE), lambda: not install.pods(SPACE, COLLECTOR), 60, 0.5)
    used = sum(p.stat().st_size for p in lasting.node.waiting())
    lasting.node.resize(f"{ROOM_KIB + used // 1024}k")
    parts.wait_until(lambda: lasting.logs.text(lasting.agents[-1])[-2000:],
                     lambda: "the oldest window is dropped" in lasting.logs.text(lasting.agents[-1]), 120, 0.5)
    time.sleep(5)  # and some more
    waited = len(lasting.node.waiting())
    lasting.node.resize("8m")
    kubectl("scale", "deployment", "podspy-collector", "-n", SPACE, "--replicas=1")
    lasting.collector = parts.wait_until(install.why(SPACE), lambda: other(COLLECTOR, ""), 90, 0.5)
    parts.wait_until("what waited is sent", lambda: len(lasting.node.waiting()) <= 1, 90, 0.5)
    lasting.all_sampled(install.names(SHOP, "app=shop"), 60)
    lost = sum(p["quality"]["lost"] for p in lasting.forward.processes())
    say(f"{waited} windows waited and arrived; {lost} samples are reported as lost")
    assert lost > 0


def test_in_the_end_taken_equals_stored_plus_lost(lasting):
    # The last word of the agent comes when it ends; nothing is sampled after it.
    kubectl("patch", "daemonset", "podspy-agent", "-n", SPACE, "-p",
            '{"spec":{"template":{"spec":{"nodeSelector":{"nowhere":"true"}}}}}')
    taken = lasting.taken()
    assert not lasting.node.waiting(), "the agent sent all it had before it ended"
    stored = sum(lasting.forward.stacks(idle=1).values())
    processes = lasting.forward.processes()
    lost = sum(p["quality"]["lost"] for p in processes)
    say(f"{len(lasting.agents)} agents took {taken} samples: {stored} are there, {lost} are reported lost")
    assert stored + lost == taken
    metrics = (install.SPOOL / "spool" / "metrics.prom").read_text()
    assert int(re.search(r"^podspy_agent_upload_lost_samples_total (\d+)", metrics, re.M)[1]) == lost
    windows = int(re.search(r'^podspy_agent_upload_windows_total{result="dropped"} (\d+)', metrics, re.M)[1])
    say(f"the agent counts {windows} windows as dropped")
    assert windows > 0
