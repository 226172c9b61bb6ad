"""kubectl podspy dump, record and top: podspy itself, in the agent's pod, against the cluster."""

import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import time

import pytest
from cluster import apply, kubectl

import install
import parts
from install import SHOP, SPACE

PLUGIN = install.REPO / "deploy" / "k8s"
ENVIRONMENT = {**os.environ, "PATH": f"{PLUGIN}:{os.environ['PATH']}", "DISPLAY": "", "TERM": "xterm"}


@pytest.fixture(scope="module")
def pods(installed):
    """The names of an annotated pod and of a pod without the annotation, both at work."""
    apply(*install.service("shop", 1, {"podspy.dev/profile": "true"}), *install.service("plain", 1))
    for name in ("shop", "plain"):
        parts.wait_until(install.why(SHOP), lambda: install.ready(SHOP, f"app={name}"), 90, 0.5)
    names = {name: install.names(SHOP, f"app={name}")[0] for name in ("shop", "plain")}
    for name in names.values():
        parts.wait_until("processes", lambda: len(pythons_of(name)) >= 3, 60, 0.5)
    return names


def pythons_of(pod):
    return [pid for pid, line in install.processes_of(install.uid(pod)).items() if "python" in line]


def podspy(*args, cwd=None, **more):
    return subprocess.run(["kubectl", "podspy", *args], capture_output=True, text=True, timeout=120, cwd=cwd,
                          env={**ENVIRONMENT, **more})


def in_the_agent(*words):
    """The processes of this machine with these words in their command line, in the agent's pod."""
    found = []
    for pid, line in install.processes_of(install.uid(install.names(SPACE, install.AGENT)[0], SPACE)).items():
        if all(word in line for word in words):
            found.append(pid)
    return found


@pytest.mark.parametrize("which", ["shop", "plain"])
def test_dump_shows_every_process_of_a_pod_opted_in_or_not(pods, which):
    done = podspy("dump", pods[which], "-n", SHOP)
    assert done.returncode == 0, done.stderr
    shown = {int(pid) for pid in re.findall(r"^Process (\d+):", done.stdout, re.M)}
    assert shown == set(pythons_of(pods[which]))
    assert ("is not opted in" in done.stderr) == (which == "plain")
    print(done.stdout[:1500])


def test_dump_of_one_process_with_locals_hides_secrets(pods):
    pid = max(pythons_of(pods["shop"]))
    done = podspy("dump", pods["shop"], "-n", SHOP, "--pid", str(pid), "--locals", "--json", "-c", "web")
    assert done.returncode == 0, done.stderr
    threads = json.loads(done.stdout)
    assert {t["pid"] for t in threads} == {pid} and any(f["locals"] for t in threads for f in t["frames"])


@pytest.mark.parametrize("form, mark", [("raw", "pack_parcel"), ("flamegraph", "</svg>"), ("speedscope", "pack_parcel"),
                                        ("pprof", "\x1f\x8b"), ("chrometrace", "pack_parcel")])
def test_record_writes_every_format_here(pods, tmp_path, form, mark):
    done = podspy("record", pods["shop"], "-n", SHOP, "-d", "2", "-f", form, "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert mark.encode("latin-1") in (tmp_path / "out").read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_in_the_agents_pod(pods, tmp_path, number):
    process = subprocess.Popen(["kubectl", "podspy", "record", pods["shop"], "-n", SHOP, "-f", "raw", "-o", "out"],
                               cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    parts.wait_until("it records", lambda: in_the_agent("podspy record"), 60, 0.2)
    time.sleep(2)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    if number == signal.SIGINT:
        assert process.returncode == 0, err
        assert "pack_parcel" in (tmp_path / "out").read_text()
    else:
        assert not (tmp_path / "out").exists()
    begin = time.monotonic()
    parts.wait_until("podspy has ended in the agent's pod", lambda: not in_the_agent("podspy record"), 30, 0.1)
    print(f"gone after {time.monotonic() - begin:.1f} s")


def test_nothing_is_left_when_kubectl_dies(pods, tmp_path):
    process = subprocess.Popen(["kubectl", "podspy", "record", pods["shop"], "-n", SHOP, "-f", "raw", "-o", "out"],
                               cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    parts.wait_until("it records", lambda: in_the_agent("podspy record"), 60, 0.2)
    kubectls = [pid for pid in parts.descendants(process.pid) if b"exec\0-i\0" in parts_cmdline(pid)]
    for pid in kubectls:
        os.kill(pid, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert kubectls and process.returncode == 1 and b"Error: " in err
    assert not (tmp_path / "out").exists()
    parts.wait_until("podspy has ended in the agent's pod", lambda: not in_the_agent("podspy record"), 30, 0.1)


def parts_cmdline(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()


def read_for(fd, seconds, until):
    text, end = b"", time.monotonic() + seconds
    while time.monotonic() < end and not until(text):
        if select.select([fd], [], [], 0.5)[0]:
            try:
                text += os.read(fd, 65536)
            except OSError:
                break
    return text


def test_top_is_live_on_a_terminal(pods):
    pid, fd = pty.fork()
    if pid == 0:
        os.execvpe("kubectl", ["kubectl", "podspy", "top", pods["shop"], "-n", SHOP], ENVIRONMENT)
    try:
        text = read_for(fd, 60, lambda t: b"pack_parcel" in t or b"spend" in t)
        assert b"pack_parcel" in text or b"spend" in text, text[-2000:]
        os.write(fd, b"q")
        read_for(fd, 20, lambda t: False if os.waitpid(pid, os.WNOHANG) == (0, 0) else True)
    finally:
        os.close(fd)
    parts.wait_until("top has ended in the agent's pod", lambda: not in_the_agent("podspy top"), 20, 0.2)


def config_of(account, folder):
    """A kubeconfig of a service account of the shop."""
    token = kubectl("create", "token", account, "-n", SHOP, check=False).strip() or legacy_token(account)
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    path = folder / "jane.conf"
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    return path


def legacy_token(account):
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    answer = kubectl("create", "--raw", f"/api/v1/namespaces/{SHOP}/serviceaccounts/{account}/token", "-f", "-",
                     stdin=json.dumps(request))
    return json.loads(answer)["status"]["token"]


def test_the_missing_right_is_said_and_the_manifest_grants_it(pods, tmp_path):
    apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "jane", "namespace": SHOP}},
          {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
           "metadata": {"name": "jane", "namespace": SHOP},
           "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
           "subjects": [{"kind": "ServiceAccount", "name": "jane", "namespace": SHOP}]})
    config = str(config_of("jane", tmp_path))
    done = podspy("dump", pods["shop"], "-n", SHOP, KUBECONFIG=config)
    assert done.returncode == 1 and 'in the namespace "podspy"' in done.stderr, done.stderr
    commands = re.search(r"An administrator grants it: (.*)", done.stderr)[1]
    print(commands)
    for command in commands.split("; "):
        subprocess.run(command, shell=True, check=True, cwd=install.REPO, env=ENVIRONMENT)
    done = podspy("dump", pods["shop"], "-n", SHOP, KUBECONFIG=config)
    assert done.returncode == 0 and "Process " in done.stdout, done.stderr
