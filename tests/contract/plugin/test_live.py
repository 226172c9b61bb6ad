"""`kubectl podspy dump`, `record` and `top` of a pod whose two processes run here; kubectl is a double."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import targets

BUSY = """
import sys, time
def burn():
    password = "hunter2"
    while True:
        sum(range(1000))
def rest():
    while True:
        time.sleep(3600)
print(flush=True)
(burn if sys.argv[1] == "burn" else rest)()
"""
NODE = "node-7"
CONTAINERS = {"web": "a" * 64, "worker": "b" * 64}


class Cluster:
    def __init__(self, folder, repo, podspy):
        self.folder, self.plugin = folder, repo / "deploy" / "k8s" / "kubectl-podspy"
        kubectl = folder / "bin" / "kubectl"
        kubectl.parent.mkdir()
        double = repo / "tests" / "contract" / "plugin" / "kubectl_double.py"
        kubectl.write_text(f'#!/bin/sh\nexec {sys.executable} {double} "$@"\n')
        kubectl.chmod(0o755)
        (kubectl.parent / "python3").symlink_to(sys.executable)
        statuses = [{"name": name, "containerID": f"containerd://{ident}", "state": {"running": {}}}
                    for name, ident in CONTAINERS.items()]
        self.world = {
            "log": str(folder / "log"), "node": NODE, "processes": [],
            "agents": [{"metadata": {"name": "agent-1"}, "status": {"phase": "Running", "conditions": []}}],
            "pod": {"metadata": {"name": "shop-1", "namespace": "shop",
                                 "annotations": {"podspy.dev/profile": "true"}},
                    "spec": {"nodeName": NODE, "containers": [{"name": n} for n in CONTAINERS]},
                    "status": {"phase": "Running", "containerStatuses": statuses}}}
        self.environment = {**os.environ, "PATH": f"{kubectl.parent}:{os.environ['PATH']}",
                            "WORLD": str(folder / "world.json"), "PODSPY": str(podspy)}

    def add(self, pid, ns_pid, container, **more):
        self.world["processes"].append({
            "pid": pid, "ns_pid": ns_pid, "parent_pid": 1, "container_id": CONTAINERS[container],
            "python_version": "3.11", "problem": "", "command": f"python {container}", **more})

    def begin(self, *args, **options):
        (self.folder / "world.json").write_text(json.dumps(self.world))
        return subprocess.Popen([self.plugin, *args], env=self.environment, cwd=self.folder, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def run(self, *args):
        process = self.begin(*args)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def asked(self):
        """What ran in the agent's pod, without the lists of processes."""
        log = self.folder / "log"
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [line for line in lines if "processes" not in line]


@pytest.fixture
def cluster(tmp_path, repo_dir, podspy):
    return Cluster(tmp_path, repo_dir, podspy)


@pytest.fixture
def pair(cluster):
    """Two processes of one pod, in two containers: (web, worker)."""
    program = cluster.folder / "program.py"
    program.write_text(BUSY)
    with targets.running([sys.executable, program, "burn"]) as web, \
            targets.running([sys.executable, program, "rest"]) as worker:
        cluster.add(web.pid, 1, "web")
        cluster.add(worker.pid, 1, "worker")
        yield web, worker


def test_dump_prints_every_process_of_the_pod(cluster, pair):
    done = cluster.run("dump", "shop-1")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.index("burn (") < done.stdout.index("rest (")
    assert f"Process {pair[0].pid}:" in done.stdout and f"Process {pair[1].pid}:" in done.stdout
    where = cluster.asked()[0]
    assert where[where.index("-n") + 1] == "podspy" and "agent-1" in where


@pytest.mark.parametrize("choice, shown", [
    (("-c", "worker"), "rest"), (("--container", "web"), "burn"), (("--pid", "{web}"), "burn"),
    (("-c", "worker", "-p", "1"), "rest")])
def test_a_process_is_chosen_by_container_or_number(cluster, pair, choice, shown):
    done = cluster.run("dump", "shop-1", *(word.format(web=pair[0].pid) for word in choice))
    assert done.returncode == 0, done.stderr
    assert {name for name in ("burn", "rest") if f"{name} (" in done.stdout} == {shown}


def test_dump_hides_secrets_unless_asked(cluster, pair):
    args = ("dump", "shop-1", "-c", "web", "--locals")
    hidden = cluster.run(*args)
    assert hidden.returncode == 0 and "password" in hidden.stdout and "hunter2" not in hidden.stdout
    assert "hunter2" in cluster.run(*args, "--no-redact").stdout


def test_dump_as_json_is_one_list(cluster, pair):
    threads = json.loads(cluster.run("dump", "shop-1", "--json").stdout)
    assert {t["pid"] for t in threads} == {t.pid for t in pair}


def test_record_writes_the_file_here(cluster, pair):
    done = cluster.run("record", "shop-1", "-d", "1", "-f", "raw", "-i", "-o", "out.txt")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "out.txt\n"
    text = (cluster.folder / "out.txt").read_text()
    assert "burn (" in text and "rest (" in text
    assert "Wrote raw data to 'out.txt'" in done.stderr and "bytes were sent" not in done.stderr
    assert os.stat(cluster.folder / "out.txt").st_mode & 0o777 == 0o666 & ~current_umask()
    done = cluster.run("record", "shop-1", "-d", "0.3", "-c", "web")
    path = done.stdout.strip()
    assert path.startswith("shop-1-") and path.endswith(".svg")
    assert "</svg>" in (cluster.folder / path).read_text()


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_recording_and_the_file_is_written(cluster, pair, number):
    process = cluster.begin("record", "shop-1", "-f", "raw", "-o", "out.txt", start_new_session=True)
    targets.wait_for(lambda: recorders(pair[0]), 20)
    time.sleep(1)
    os.killpg(process.pid, number)  # as a terminal does: to the plugin and its children
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "burn (" in (cluster.folder / "out.txt").read_text()
    assert not recorders(pair[0])


def recorders(target):
    """The processes that record this one."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                line = f.read().split(b"\0")
        except OSError:
            continue
        if line[1:2] == [b"record"] and str(target.pid).encode() in line:
            found.append(int(pid))
    return found


def test_nothing_is_left_behind_when_the_plugin_is_killed(cluster, pair):
    process = cluster.begin("record", "shop-1", "-f", "raw", "-o", "out.txt")
    targets.wait_for(lambda: recorders(pair[0]), 20)
    process.kill()
    process.communicate()
    targets.wait_for(lambda: not recorders(pair[0]), 20)
    assert not (cluster.folder / "out.txt").exists()


@pytest.mark.parametrize("fails, words", [
    ("forbidden", ["cannot create resource \"pods/exec\"", "kubectl -n podspy apply -f deploy/k8s/optional/exec.yaml",
                   "--role=podspy-exec --user=jane@example.org"]),
    ("lost", ["unable to upgrade connection"]), ("cut", ["incomplete"])])
def test_a_failure_of_kubectl_is_one_line_and_leaves_no_file(cluster, pair, fails, words):
    cluster.world["fails"] = fails
    done = cluster.run("record", "shop-1", "-d", "0.2", "-f", "raw", "-o", "out.txt")
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and "Traceback" not in done.stderr
    for word in words:
        assert word in errors[0]
    assert not [p for p in cluster.folder.iterdir() if "out.txt" in p.name]


def test_podspys_own_failure_and_status_are_passed_on(cluster, pair):
    done = cluster.run("record", "shop-1", "-d", "0.2", "-o", "out.txt", "--include", "(")
    assert done.returncode == 2 and "include" in done.stderr
    assert not (cluster.folder / "out.txt").exists()
    done = cluster.run("dump", "shop-1", "--", "--no-such-option")
    assert done.returncode == 2 and "no-such-option" in done.stderr


@pytest.mark.parametrize("change, args, words", [
    (lambda w: w.update(agents=[]), (), "no agent runs on node node-7"),
    (lambda w: w["pod"]["spec"].pop("nodeName"), (), "no node has it yet"),
    (lambda w: w["pod"]["status"].update(containerStatuses=[]), (), "no container of pod shop-1 runs"),
    (lambda w: w.update(processes=[]), (), "there is no Python process in pod shop-1"),
    (lambda w: None, ("-c", "nginx"), "has no container nginx; it has web, worker"),
    (lambda w: None, ("-p", "999999"), "has no Python process 999999; it has"),
    (lambda w: None, ("-p", "1"), "1 is several processes: add -c CONTAINER"),
    (lambda w: w["pod"]["metadata"].update(name="other"), (), "there is no pod shop-1 in namespace shop")])
def test_what_keeps_it_from_working_is_said(cluster, pair, change, args, words):
    change(cluster.world)
    done = cluster.run("dump", "shop-1", *args)
    assert done.returncode == 1 and done.stdout == ""
    assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_pod_that_is_not_opted_in_is_read_and_said_to_be(cluster, pair):
    cluster.world["pod"]["metadata"]["annotations"] = {}
    done = cluster.run("dump", "shop-1")
    assert done.returncode == 0 and "burn (" in done.stdout
    assert "pod shop-1 is not opted in" in done.stderr


def test_a_sidecar_is_used_where_the_pod_has_one(cluster, pair):
    cluster.world["pod"]["spec"]["containers"].append({"name": "podspy-agent"})
    cluster.world["agents"] = []
    assert cluster.run("dump", "shop-1").returncode == 0
    where = cluster.asked()[0]
    assert where[where.index("-n") + 1] == "shop" and where[where.index("-c") + 1] == "podspy-agent"


def test_podspys_options_are_passed_on_and_others_refused(cluster, pair):
    cluster.run("record", "-r", "50", "--native", "shop-1", "-d", "0.1", "--exclude", "a b", "-o", "x", "--", "--later", "1")
    asked = cluster.asked()[0]
    inside = asked[asked.index("record"):]
    for words in (["-r", "50"], ["--native"], ["-d", "0.1"], ["--exclude", "a b"], ["--later", "1"]):
        assert any(inside[i:i + len(words)] == words for i in range(len(inside))), inside
    done = cluster.run("record", "shop-1", "--no-such-option")
    assert done.returncode == 2 and "no-such-option" in done.stderr
    done = cluster.run("top", "shop-1", "--rows", "3", "--native")
    assert done.returncode == 2 and "Traceback" not in done.stderr
