"""What deploy/docker/image-root.sh puts into the images of agent and collector, run by runc: small,
without a shell, and everything that probes and `kubectl podspy` run in there works."""

import json
import os
import pathlib
import re
import secrets
import shutil
import subprocess
import sys

import parts
import pytest
import runc

SCRIPT = runc.REPO / "deploy" / "docker" / "image-root.sh"
VERSION = re.search(r"project\(podspy VERSION ([\d.]+)", (runc.REPO / "CMakeLists.txt").read_text())[1]
MAX_MB = 25
BUSY = "import time\ndef burn():\n    while True:\n        sum(range(1000))\nprint(flush=True)\nburn()\n"


@pytest.fixture(scope="module")
def image(program, tmp_path_factory):
    """The root of an image by its name, made from this build and this machine's libraries."""
    if not shutil.which("dpkg-query") or not pathlib.Path("/etc/ssl/certs/ca-certificates.crt").exists():
        pytest.skip("needs Debian, with ca-certificates")
    folder = tmp_path_factory.mktemp("images")
    folder.chmod(0o755)
    made = {}

    def make(name):
        if name not in made:
            stripped = folder / ("podspy" if name == "agent" else "podspy-collector")
            subprocess.run(["strip", "-o", stripped, program(stripped.name)], check=True)
            done = subprocess.run([SCRIPT, name, VERSION, stripped, folder / name], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            made[name] = folder / name
        return made[name]
    return make


def files_of(root):
    return [p for p in root.rglob("*") if p.is_file() and not p.is_symlink()]


@pytest.mark.parametrize("name", ["agent", "collector"])
def test_an_image_holds_the_program_and_nothing_else_that_runs(image, name):
    root = image(name)
    size = sum(p.stat().st_size for p in files_of(root)) / 1e6
    print(f"\npodspy/{name}: {size:.1f} MB")
    assert size < MAX_MB
    program = "podspy" if name == "agent" else "podspy-collector"
    runs = {p.name for p in files_of(root) if os.access(p, os.X_OK)}
    assert {n for n in runs if not re.match(r"(lib.+|ld-.+)\.so(\.|$)", n)} == {program}
    scripts = [p for p in files_of(root) if p.read_bytes()[:2] == b"#!"]
    assert not scripts
    listed = json.loads((root / f"usr/share/sbom/podspy-{name}.spdx.json").read_text())
    packages = {p["name"] for p in listed["packages"]} - {f"podspy-{name}"}
    assert {"libc6", "ca-certificates", "libcurl3-gnutls"} <= packages and "bash" not in packages
    licensed = {p.parent.name for p in root.glob("usr/share/doc/*/copyright")}
    assert licensed == packages | {"podspy"}


def start(folder, root, args, edit):
    if why := runc.why_not():
        pytest.skip(why)
    ident = secrets.token_hex(32)

    def with_defaults(spec):
        spec["process"].update(cwd="/", env=["PATH=/usr/local/bin"])
        edit(spec)
    return runc.Container(folder, root, ident, f"/podspy-test-images/{ident}", args, edit=with_defaults)


def tmpfs(path, uid=0):
    return {"destination": path, "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "nodev", "mode=0700", f"uid={uid}"]}


def as_agent(spec):
    """As deploy/k8s/40-agent.yaml has it: root with one capability, the node's processes."""
    spec["process"]["user"] = {"uid": 0, "gid": 0}
    spec["process"]["capabilities"] = {kind: ["CAP_SYS_PTRACE"] for kind in ("bounding", "effective", "permitted")}
    spec["linux"]["namespaces"] = [n for n in spec["linux"]["namespaces"] if n["type"] != "pid"]
    spec["mounts"] = [m for m in spec["mounts"] if m["destination"] != "/proc"]
    spec["mounts"] += [{"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]},
                       tmpfs("/var/lib/podspy"), tmpfs("/tmp")]


def test_the_agents_image_runs_probe_and_commands(image, tmp_path):
    with runc.cgroup_parent("podspy-test-images"), start(
            tmp_path / "container", image("agent"), ["podspy", "agent", "--collector", "https://127.0.0.1:9"], as_agent) as box:
        alive = parts.wait_until(lambda: box.log.read_text(), lambda: (
            lambda done: done if done.returncode == 0 else None)(box.run("podspy", "agent", "--alive")), 30, 0.5)
        assert "latest round was" in alive.stdout
        assert box.run("sh", "-c", "true").returncode != 0
        target = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE)
        try:
            target.stdout.readline()
            seen = {p["pid"]: p for p in json.loads(box.run("podspy", "processes", "--json").stdout)}
            assert seen[target.pid]["python_version"].startswith("3.") and not seen[target.pid]["problem"]
            dumped = box.run("podspy", "dump", "--pid", str(target.pid))
            assert "burn (" in dumped.stdout, dumped.stderr
            recorded = box.run("podspy", "record", "--pid", str(target.pid), "-d", "0.5", "-f", "raw", "-o", "-")
            assert "burn (" in recorded.stdout, recorded.stderr
        finally:
            target.kill()
            target.wait()
            target.stdout.close()


def test_a_dead_agents_probe_says_why(image, podspy, tmp_path):
    config = tmp_path / "agent.yaml"
    config.write_text(f"push: {{spool_dir: '{tmp_path}'}}\n")

    def probe():
        return subprocess.run([podspy, "agent", "--alive", "--config", config], capture_output=True, text=True)
    assert probe().returncode == 1 and "no agent has made a round here yet" in probe().stderr
    (tmp_path / "alive").touch()
    assert probe().returncode == 0
    os.utime(tmp_path / "alive", (0, 1))
    assert probe().returncode == 1 and "latest round was" in probe().stderr
    config.write_text("push: {spool_dir: 1, no: 2}\n")
    assert probe().returncode == 1 and "agent.yaml:1" in probe().stderr


def as_collector(spec):
    spec["process"]["user"] = {"uid": 65532, "gid": 0}
    spec["mounts"] += [tmpfs("/var/lib/podspy-collector", 65532), tmpfs("/run/podspy-credentials", 65532),
                       tmpfs("/tmp", 65532)]


def test_the_collectors_image_runs_probe_and_enroll(image, tmp_path):
    with runc.cgroup_parent("podspy-test-images"), start(
            tmp_path / "container", image("collector"), ["podspy-collector"], as_collector) as box:
        parts.wait_until(lambda: box.log.read_text() + box.run("podspy-collector", "--ready").stderr,
                         lambda: box.run("podspy-collector", "--ready").returncode == 0, 40, 0.5)
        done = box.run("podspy-collector", "--enroll", "/run/podspy-credentials")
        assert done.returncode == 0, done.stderr
        folder = pathlib.Path(f"/proc/{box.pid}/root/run/podspy-credentials")
        assert sorted(p.name for p in folder.iterdir()) == ["ca.pem", "ingest.token"]
        assert all(p.stat().st_mode & 0o777 == 0o640 and p.stat().st_gid == 0 for p in folder.iterdir())
        done = box.run("podspy-collector", "--ready", "--listen-http", "127.0.0.1:9")
        assert done.returncode == 1 and "no collector answers at 127.0.0.1:9" in done.stderr
        done = box.run("podspy-collector", "--enroll", "/run/podspy-credentials", "--data", "/tmp")
        assert done.returncode == 1 and "is the collector up?" in done.stderr
        assert box.run("sh", "-c", "true").returncode != 0
