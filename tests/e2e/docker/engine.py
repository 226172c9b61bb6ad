"""A real dockerd of the test's own: its data, sockets and bridges are apart from any other daemon's,
and nothing of it is left when the test ends."""

import contextlib
import os
import pathlib
import shutil
import subprocess

import machine
import parts

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
DOCKERD = shutil.which("dockerd", path=PATH)
# The host's packet filter and forwarding stay as they are: containers of one bridge talk without
# them, and image builds use the host's network.
FLAGS = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false",
         "--ip-masq=false"]


def why_not():
    """Why no dockerd can be started here, or None."""
    if not DOCKERD:
        return "dockerd is not installed"
    if not shutil.which("docker"):
        return "the docker command is not installed"
    if not compose_command():
        return "docker compose is not installed"
    return machine.why_no_containers()


def compose_command():
    """Compose 2 as a plugin of docker, or docker-compose 1 as Debian 12 has it."""
    if shutil.which("docker"):
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True)
        if plugin.returncode == 0:
            return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


class Engine:
    def __init__(self, folder):
        # The path of a socket has little room, and what pytest makes is long.
        self.folder = pathlib.Path(folder)
        self.socket = self.folder / "docker.sock"
        self.environment = dict(os.environ, DOCKER_HOST=f"unix://{self.socket}", PATH=PATH,
                                DOCKER_CONFIG=str(self.folder / "config"))
        self.cgroups_before = _cgroups()

    def start(self):
        """None, or why the daemon does not start on this machine."""
        self.daemon = parts.Process(
            [DOCKERD, "--data-root", self.folder / "data", "--exec-root", self.folder / "exec",
             "--pidfile", self.folder / "pid", "--host", f"unix://{self.socket}", *FLAGS],
            self.folder / "dockerd.log", env=self.environment)
        parts.wait_until("dockerd answers or ends",
                         lambda: not self.daemon.alive() or self._answers(), 40)
        if self.daemon.alive():
            return None
        last = self.daemon.log.strip().splitlines()[-1:] or ["it said nothing"]
        return f"dockerd does not start here: {last[0][-300:]}"

    def _answers(self):
        return self.docker("version", check=False, timeout=10).returncode == 0

    def docker(self, *args, check=True, timeout=60):
        return self.run(["docker", *args], check=check, timeout=timeout)

    def run(self, argv, *, check=True, timeout=60, **more):
        done = subprocess.run([str(a) for a in argv], env={**self.environment, **more},
                              capture_output=True, text=True, timeout=timeout,
                              stdin=subprocess.DEVNULL)
        assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done

    def stop(self):
        containers = self.docker("ps", "-aq", check=False).stdout.split()
        if containers:
            self.docker("rm", "-f", *containers, check=False)
        self.docker("network", "prune", "-f", check=False)  # its bridges are on the host
        self.daemon.kill(15, 40)  # containerd is its child and ends with it
        for mount in sorted(_mounts_below(self.folder), reverse=True):
            subprocess.run(["umount", "-l", mount], capture_output=True)
        for path in sorted(_cgroups() - self.cgroups_before, reverse=True):
            with contextlib.suppress(OSError):
                os.rmdir(path)
        shutil.rmtree(self.folder)


def _cgroups():
    root = pathlib.Path("/sys/fs/cgroup")
    return {str(p) for p in [*root.glob("*/docker"), *root.glob("docker")]}


def _mounts_below(folder):
    lines = pathlib.Path("/proc/self/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[1].startswith(f"{folder}/")]
