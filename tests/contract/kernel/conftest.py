"""Cgroups with a CPU limit, of whichever kind this machine has."""

import pathlib
import sys

import pytest

import targets

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "collector"))

PERIOD_US = 100_000


def _mounts():
    """(type, super options, mount point, root) of each mount."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        words, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        yield kind, options.split(","), words.split()[4], words.split()[3]


class Cgroup:
    """A folder of the hierarchy that has the cpu controller; it goes with the test."""

    def __init__(self, path, v2):
        self.path, self.v2 = path, v2
        path.mkdir()

    def limit(self, percent):
        quota = PERIOD_US * percent // 100
        if self.v2:
            (self.path / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        else:
            (self.path / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (self.path / "cpu.cfs_quota_us").write_text(str(quota))

    def child(self, name, controller):
        """controller: with the cpu controller of its own (v1 always has it)."""
        if self.v2 and controller:
            (self.path / "cgroup.subtree_control").write_text("+cpu")
        return Cgroup(self.path / name, self.v2)

    def take(self, pid):
        (self.path / "cgroup.procs").write_text(str(pid))

    def throttled(self):
        """(periods, seconds) as cpu.stat has them."""
        stat = dict(line.split() for line in (self.path / "cpu.stat").read_text().splitlines())
        ns = int(stat["throttled_usec"]) * 1000 if self.v2 else int(stat["throttled_time"])
        return int(stat["nr_throttled"]), ns / 1e9

    def remove(self):
        targets.wait_for(lambda: not (self.path / "cgroup.procs").read_text())
        self.path.rmdir()


def _new(name):
    mounts = list(_mounts())
    for kind, options, point, root in mounts:
        if kind == "cgroup" and "cpu" in options and root == "/":
            return Cgroup(pathlib.Path(point) / name, False)
    for kind, _, point, root in mounts:
        if kind == "cgroup2" and root == "/":
            control = pathlib.Path(point) / "cgroup.subtree_control"
            if "cpu" not in control.read_text().split():
                control.write_text("+cpu")
            return Cgroup(pathlib.Path(point) / name, True)
    raise OSError("neither cgroup v2 nor the cpu controller of v1 is mounted here")


@pytest.fixture
def cgroup(request):
    """cgroup(name): a new one; all are removed, the innermost first."""
    made = []

    def make(name="podspy-test", parent=None, controller=True):
        try:
            made.append(parent.child(name, controller) if parent else _new(name))
        except OSError as e:
            pytest.skip(f"no cgroup with a CPU limit can be made: {e} (needs root and a writable /sys/fs/cgroup)")
        return made[-1]

    yield make
    for c in reversed(made):
        c.remove()
