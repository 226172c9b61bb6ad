"""Before a process is opted in, only its world-readable files are read.

The system calls are the proof: discovery and sampling run under strace beside Python processes that
are opted in and others that are not.
"""

import os
import re
import shutil
import subprocess
import sys
import uuid

import pytest

import machine
import targets
from looks import TRACED, WORLD_READABLE, looks

WORK = """
import os, sys, threading, time
sys.stdout.write("up\\n"); sys.stdout.flush()
if "parent" in sys.argv:
    os.fork()
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
def busy():
    end = time.monotonic() + 600
    while time.monotonic() < end:
        sum(range(1000)); time.sleep(0.002)
busy()
"""


class Processes:
    """Python processes that end with the test."""

    def __init__(self):
        self.all = []

    def start(self, *args):
        # In a session of its own, so that what it forks ends with it.
        p = subprocess.Popen([sys.executable, "-c", WORK, *args], stdout=subprocess.PIPE,
                             start_new_session=True)
        self.all.append(p)
        assert p.stdout.readline() == b"up\n"
        return p.pid

    def end(self):
        for p in self.all:
            os.killpg(p.pid, 9)
            p.wait()
            p.stdout.close()


@pytest.fixture
def processes():
    made = Processes()
    yield made
    made.end()


def _children(pid):
    out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(x) for x in out.stdout.split()]


@pytest.fixture
def watched(program, tmp_path):
    """watched(rule) runs discovery and sampling under strace; gives its output and the trace."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed: cmake/setup.sh test installs it")
    # A sanitizer's runtime reads /proc/self and may not run under ptrace.
    env = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")

    def run(rules, seconds=4):
        config = tmp_path / "agent.yaml"
        config.write_text(f"discovery: {{docker: off, processes: [{rules}]}}\n")
        trace = tmp_path / "trace"
        done = subprocess.run(
            ["strace", "-f", "-y", "-s", "4096", "-e", f"trace={TRACED}", "-o", str(trace),
             str(program("discover_watcher")), str(config), str(seconds)],
            capture_output=True, text=True, timeout=120, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout, trace.read_text(errors="replace")

    return run


def test_of_other_processes_only_world_readable_files_are_read(processes, watched):
    mark = uuid.uuid4().hex
    opted_in = processes.start(mark, "parent")
    others = [processes.start(f"other-{i}") for i in range(3)]
    child, = targets.wait_for(lambda: _children(opted_in))
    seconds = iter((4, 15, 60))  # under strace a busy machine takes long

    def not_read():
        out, trace = watched(f"{{name: web, cmdline: '{mark}'}}", next(seconds))
        added = {int(x) for x in re.findall(r"^added (\d+)$", out, re.M)}
        assert added <= {opted_in, child}
        seen = {}
        for pid, what in looks(trace):
            seen.setdefault(pid, set()).add(what)
        # It holds for everyone else on this machine, not just for those the test started.
        own = {int(pid) for pid in re.findall(r"^(\d+) ", trace, re.M)}  # the watcher's own threads
        for pid, whats in seen.items():
            if pid not in added and pid not in own:
                assert whats <= WORLD_READABLE, f"process {pid}: {sorted(whats)}"
        # The trace would have shown more: of those that are opted in, memory was read, and the others were looked at.
        must = {pid: {"maps", "process_vm_readv"} for pid in (opted_in, child)}
        must.update({pid: {"stat", "cmdline", "cgroup"} for pid in others})
        return {pid: whats - seen.get(pid, set()) for pid, whats in must.items() if not whats <= seen.get(pid, set())}

    machine.measured("files that were not read", not_read, lambda missing: missing == {})


def test_without_a_matching_rule_no_memory_is_read(processes, watched):
    pids = [processes.start(f"other-{i}") for i in range(2)]
    out, trace = watched("{name: web, user: '0', exe: '*python*', cmdline: 'no-such-thing', "
                         "cgroup: '*'}", seconds=2)
    assert "added" not in out and "samples 0" in out
    assert "process_vm_readv" not in trace
    seen = list(looks(trace))
    for pid in pids:
        whats = {w for p, w in seen if p == pid}
        assert "status" in whats or "cmdline" in whats
        assert whats <= WORLD_READABLE
