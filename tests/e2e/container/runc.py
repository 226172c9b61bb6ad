"""A container made by the real runc: a Debian root, namespaces and a cgroup of its own, without any
engine above it."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import time

import machine
import parts

REPO = pathlib.Path(__file__).resolve().parents[3]
RUNC = shutil.which("runc", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def why_not():
    """Why no container can be made here, or None."""
    if not RUNC:
        return "runc is not installed"
    if not shutil.which("debootstrap", path="/usr/bin:/usr/sbin:/sbin"):
        return "debootstrap is not installed"
    if why := machine.why_no_containers():
        return why
    if not os.path.isdir("/sys/fs/cgroup"):
        return "no cgroups are mounted"
    return None


def debian_root(name, *packages):
    """The tar of a Debian root; made once and kept outside the tree."""
    made = subprocess.run([REPO / "deploy/docker/debian-root.sh", name, *packages],
                          capture_output=True, text=True, timeout=400)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


class Container:
    """Runs args as uid 65534 in root. cgroup is its path, as an engine would choose it; edit changes
    the specification that runc gets."""

    def __init__(self, folder, root, container_id, cgroup, args, env=(), edit=lambda spec: None):
        self.folder, self.id = pathlib.Path(folder), container_id
        self.state = self.folder / "state"
        self.log = self.folder / "log"
        self.bundle = self.folder / "bundle"
        self.bundle.mkdir(parents=True)
        subprocess.run([RUNC, "spec", "--bundle", self.bundle], check=True)
        spec_file = self.bundle / "config.json"
        spec = json.loads(spec_file.read_text())
        spec["root"] = {"path": str(root), "readonly": True}
        spec["linux"]["cgroupsPath"] = cgroup
        spec["process"].update(args=list(args), terminal=False, cwd="/srv/demo",
                               user={"uid": 65534, "gid": 65534})
        spec["process"]["env"] += list(env)
        edit(spec)
        spec_file.write_text(json.dumps(spec))

    def _runc(self, *args, **options):
        return subprocess.run([RUNC, "--root", self.state, *args], capture_output=True, text=True,
                              timeout=30, **options)

    def start(self):
        with open(self.log, "ab") as log:
            made = subprocess.run([RUNC, "--root", self.state, "run", "--detach", "--bundle",
                                   self.bundle, self.id], stdin=subprocess.DEVNULL, stdout=log,
                                  stderr=log, timeout=30)
        assert made.returncode == 0, self.log.read_text()
        self.pid = json.loads(self._runc("state", self.id).stdout)["pid"]
        return self

    def exec(self, log, *args):
        """Another process inside, as a part that the caller ends."""
        return parts.Process([RUNC, "--root", self.state, "exec", "--user", "65534:65534", "--cwd",
                              "/srv/demo", self.id, *args], log)

    def run(self, *args, **options):
        """Another process inside, as the container's own user."""
        return self._runc("exec", self.id, *args, **options)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self._runc("delete", "--force", self.id)
        for _ in range(50):
            if not os.path.exists(f"/proc/{self.pid}"):
                break
            time.sleep(0.1)


def unpack(tar, root):
    root.mkdir()
    subprocess.run(["tar", "-C", root, "--numeric-owner", "-xf", tar], check=True)
    return root


@contextlib.contextmanager
def cgroup_parent(name):
    """The folder that runc makes for /name/ID in every hierarchy is removed again."""
    yield
    for path in pathlib.Path("/sys/fs/cgroup").glob(f"*/{name}"):
        with contextlib.suppress(OSError):
            path.rmdir()
    with contextlib.suppress(OSError):
        pathlib.Path(f"/sys/fs/cgroup/{name}").rmdir()
