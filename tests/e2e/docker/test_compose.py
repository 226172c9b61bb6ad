"""deploy/docker as a user applies it: images on a base made by debootstrap, docker compose up on a
real dockerd, and what the collector then answers."""

import contextlib
import json
import pathlib
import re
import shutil
import socket
import tempfile

import engine as docker_engine
import parts
import pytest
import requests

REPO = pathlib.Path(__file__).resolve().parents[3]
DEPLOY = REPO / "deploy" / "docker"
VERSION = re.search(r"project\(podspy VERSION ([\d.]+)", (REPO / "CMakeLists.txt").read_text())[1]


@pytest.fixture(scope="module")
def engine():
    if why := docker_engine.why_not():
        pytest.skip(why)
    if not shutil.which("debootstrap", path=docker_engine.PATH):
        pytest.skip("debootstrap is not installed")
    it = docker_engine.Engine(tempfile.mkdtemp(prefix="podspy-docker-"))
    try:
        if why := it.start():
            pytest.skip(why)
        yield it
    finally:
        it.stop()


@pytest.fixture(scope="module")
def images(engine):
    """What build-images.sh prints: a name and a size a line."""
    built = engine.run([DEPLOY / "build-images.sh", "--base", "debootstrap", "--no-archives"],
                       timeout=400)
    return built.stdout


@contextlib.contextmanager
def created(engine, image):
    """A container that is never started, to copy files out of an image that holds no cat."""
    ident = engine.docker("create", "--network=none", image).stdout.strip()
    try:
        yield ident
    finally:
        engine.docker("rm", ident)


def file_of(engine, container, path):
    """The text of a file, whether the container runs or not."""
    to = engine.folder / "copied"
    engine.docker("cp", f"{container}:{path}", str(to))
    return to.read_text()


def test_each_image_has_an_sbom(engine, images):
    for name in ("agent", "collector", "demo"):
        image = f"podspy/{name}:{VERSION}"
        path = json.loads(engine.docker("image", "inspect", image).stdout)[0]["Config"]["Labels"]["dev.podspy.sbom"]
        with created(engine, image) as container:
            listed = json.loads(file_of(engine, container, path))
        assert listed["spdxVersion"] == "SPDX-2.3"
        ids = [p["SPDXID"] for p in listed["packages"]]
        assert len(set(ids)) == len(ids) and set(listed["documentDescribes"]) == set(ids)
        assert {f"podspy-{name}", "libc6"} <= {p["name"] for p in listed["packages"]}


class Stack:
    """The compose file, up; on ports that are free here."""

    def __init__(self, engine):
        self.engine = engine
        self.https, self.http = parts.free_port(), parts.free_port()
        self.configs = {}
        for name in ("agent", "collector"):
            path = engine.folder / f"{name}.yaml"
            text = (DEPLOY / f"{name}.yaml").read_text()
            path.write_text(text.replace(":8443", f":{self.https}").replace(":8080", f":{self.http}")
                            .replace("interval: 10s", "interval: 2s"))
            self.configs[f"PODSPY_{name.upper()}_CONFIG"] = str(path)

    def compose(self, *args, **options):
        return self.engine.run(
            [*docker_engine.compose_command(), "-p", "podspytest", "-f",
             DEPLOY / "docker-compose.yml", *args],
            DOCKER_SOCKET=str(self.engine.socket),
            **self.configs, **options)

    def logs(self):
        return self.compose("logs", "--tail=20", check=False).stdout[-5000:]

    def get(self, path, **params):
        return requests.get(f"http://127.0.0.1:{self.http}{path}", params=params, timeout=20)

    def container(self, name):
        return json.loads(self.engine.docker("inspect", name).stdout)[0]

    def container_of(self, service):
        return self.compose("ps", "-q", service).stdout.strip()


@pytest.fixture(scope="module")
def stack(engine, images):
    it = Stack(engine)
    try:
        up = it.compose("up", "-d", timeout=120, check=False)
        assert up.returncode == 0, up.stdout + up.stderr + it.logs()
        yield it
    finally:
        it.compose("down", "-v", "--timeout", "3", check=False, timeout=120)


@pytest.fixture(scope="module")
def workers(stack):
    """The host's PIDs of both workers of the opted-in service, once their work was seen."""
    master = stack.container("demo")["State"]["Pid"]
    found = parts.wait_until("two workers", lambda: len(parts.children(master)) == 2
                             and parts.children(master))
    for pid in found:
        parts.wait_until(lambda: f"{pid} at work\n{stack.logs()}",
                         lambda: "edit_distance (" in collapsed(stack, pid=pid), 60, 1)
    return found


def collapsed(stack, **selector):
    answer = stack.get("/profiles", format="collapsed", **selector)
    return answer.text if answer.ok else ""


def test_the_compose_file_names_the_version_of_this_tree():
    text = (DEPLOY / "docker-compose.yml").read_text()
    assert set(re.findall(r"\$\{PODSPY_VERSION:-([^}]*)\}", text)) == {VERSION}


def test_the_images_are_small_and_labelled(engine, images):
    """The demo's in MB: debian:bookworm-slim by debootstrap is 85, Python 45."""
    sizes = dict(re.findall(r"podspy/(\w+):\S+\s+([\d.]+) MB", images))
    assert set(sizes) == {"agent", "collector", "demo"}
    bounds = {"agent": 25, "collector": 25, "demo": 150}
    assert all(float(size) < bounds[name] for name, size in sizes.items()), sizes
    for name in sizes:
        labels = json.loads(engine.docker("inspect", f"podspy/{name}:{VERSION}").stdout)[0]
        labels = labels["Config"]["Labels"]
        assert labels["org.opencontainers.image.version"] == VERSION
        assert labels["org.opencontainers.image.title"]


def test_the_opted_in_service_is_in_pods_and_the_other_is_not(stack, workers):
    pods = stack.get("/pods").json()
    processes = parts.flat(pods)
    assert {p["pod"] for p in processes} == {"demo"}, pods
    demo = stack.container("demo")
    listed = {p["pid"]: p for p in processes}
    assert set(workers) <= set(listed)
    for pid in workers:
        assert listed[pid]["container_id"] == demo["Id"]
        assert listed[pid]["image"] == f"podspy/demo:{VERSION}"
        assert listed[pid]["ns_pid"] != pid
        assert listed[pid]["node"] == socket.gethostname()
        assert not listed[pid]["problem"]
    # It was there all the time, as busy as the first.
    other = stack.container("other")
    assert other["State"]["Running"]
    assert not set(parts.descendants(other["State"]["Pid"])) & set(listed)


def test_both_workers_functions_are_in_the_flamegraph(stack, workers):
    functions = ("edit_distance", "sign_receipt", "handle_checkout")
    parts.wait_until(f"{functions} at work", lambda: all(
        f"{name} (" in collapsed(stack, pod="demo") for name in functions), 30, 1)
    svg = stack.get("/profiles", pod="demo", format="svg").text
    assert all(f"({pid})" in svg for pid in workers)
    assert all(name in svg for name in functions)
    assert stack.get("/profiles", pod="other", format="svg").status_code == 404


def test_the_agent_has_one_capability_and_a_read_only_root(stack):
    agent = stack.container(stack.container_of("podspy-agent"))
    host = agent["HostConfig"]
    assert [c.removeprefix("CAP_") for c in host["CapAdd"]] == ["SYS_PTRACE"]
    assert host["CapDrop"] == ["ALL"] and not host["Privileged"]
    assert host["ReadonlyRootfs"] and host["PidMode"] == "host"
    assert any("no-new-privileges" in option for option in host["SecurityOpt"])
    status = pathlib.Path(f"/proc/{agent['State']['Pid']}/status").read_text()
    effective = int(re.search(r"CapEff:\s+(\w+)", status)[1], 16)
    assert effective == 1 << 19  # CAP_SYS_PTRACE
    writable = {m["Destination"] for m in agent["Mounts"] if m["RW"]}
    assert writable == {"/var/lib/podspy/spool"}


def test_the_agent_sees_the_ingest_token_and_no_other_secret(stack):
    agent = stack.container_of("podspy-agent")
    to = stack.engine.folder / "seen"
    stack.engine.docker("cp", f"{agent}:/run/podspy-credentials", str(to))
    assert sorted(p.name for p in to.iterdir()) == ["ca.pem", "ingest.token"]


def test_the_probes_are_the_programs_themselves(stack, workers):
    agent, collector = stack.container_of("podspy-agent"), stack.container_of("podspy-collector")
    alive = stack.engine.docker("exec", agent, "podspy", "agent", "--alive", "--config", "/etc/podspy/agent.yaml")
    assert "latest round was" in alive.stdout
    for container in (agent, collector):
        parts.wait_until("healthy", lambda: stack.container(container)["State"]["Health"]["Status"] == "healthy", 30)
        assert stack.engine.docker("exec", container, "sh", "-c", "true", check=False).returncode != 0


def test_the_collector_is_not_root_and_answers_over_tls(stack, tmp_path):
    collector = stack.container_of("podspy-collector")
    status = pathlib.Path(f"/proc/{stack.container(collector)['State']['Pid']}/status").read_text()
    assert re.search(r"^Uid:\s+65532\s", status, re.M)
    assert int(re.search(r"CapEff:\s+(\w+)", status)[1], 16) == 0
    data = "/var/lib/podspy-collector"
    ca = tmp_path / "ca.pem"
    ca.write_text(file_of(stack.engine, collector, f"{data}/ca.pem"))
    token = file_of(stack.engine, collector, f"{data}/read.token").strip()
    url = f"https://127.0.0.1:{stack.https}/pods"
    assert requests.get(url, verify=str(ca), timeout=10).status_code == 401
    assert requests.get(url, verify=str(ca), timeout=10,
                        headers={"Authorization": f"Bearer {token}"}).ok
