"""Where a seccomp filter forbids process_vm_readv to podspy, as Docker's default did up to 22, and the kernel lets it read
a process all the same, it reads through /proc/PID/mem."""

import os
import pathlib
import platform
import re

import pytest

import machine
import pythons
import targets

HERE = pathlib.Path(__file__).resolve().parent
CALL = {"x86_64": "310", "aarch64": "270"}[platform.machine()]  # process_vm_readv
FORBID = ["/usr/bin/python3", HERE.parent / "doctor" / "confine.py", "filter", CALL, "1", "--"]
# As in a plain container; the target has no more capabilities than podspy, and is not its child.
PLAIN = ["setpriv", "--bounding-set", "-sys_admin,-net_admin,-sys_ptrace"] if os.geteuid() == 0 else []
ENV = dict(os.environ, PYTHONIOENCODING="utf-8", PYTHONDONTWRITEBYTECODE="1")
SUPPORTED = pythons.few() if os.environ.get("PODSPY_SANITIZE") else pythons.here()
each = pytest.mark.parametrize("python", SUPPORTED, ids=pythons.id_of)
each_mode = pytest.mark.parametrize("flags", [[], ["--nonblocking"], ["--blocking"]], ids=lambda f: "".join(f) or "default")
WORK = """
import sys
def spin():
    for _ in range(1000): pass
def work():
    while True: spin()
sys.stdout.write("ready\\n"); sys.stdout.flush()
work()
"""


@each
def test_dump_reads_through_proc_mem(python, podspy):
    with targets.running([*PLAIN, *python.argv(HERE / "still.py")], env=ENV) as t:
        argv = ["dump", "-j", "-p", str(t.pid)]
        allowed = targets.run([podspy, *argv])
        forbidden = targets.run([*PLAIN, *FORBID, podspy, *argv])
        assert (forbidden.returncode, forbidden.stderr) == (0, b"")
        assert forbidden.stdout == allowed.stdout
        assert b"MainThread" in allowed.stdout


@each_mode
@each
def test_record_reads_through_proc_mem(python, flags, podspy):
    def marked():
        """The samples whose inner frames are not known: without a pause some, and on a busy machine those of a thread that
        did not stop in time."""
        r = targets.run([*PLAIN, *FORBID, podspy, "record", "-i", "-p", str(t.pid), "-d", "1", "-r", "200", "-f", "raw", "-o", "-", *flags])
        assert r.returncode == 0, r.stderr
        stacks = [line.rpartition(b" ")[::2] for line in r.stdout.splitlines()]
        assert sum(int(n) for stack, n in stacks if b";work (<string>:6)" in stack) > 20, r.stdout + r.stderr
        whole = rb"<module> \(<string>:\d\)(;work \(<string>:6\)(;spin \(<string>:\d\))?)?(;\[changing\])?"
        assert all(re.fullmatch(whole, stack) for stack, _ in stacks), r.stdout
        return sum(int(n) for stack, n in stacks if stack.endswith(b"[changing]"))

    with targets.running([*PLAIN, *python.argv_code(WORK)]) as t:
        # A thread that waits for a CPU does not stop in time.
        machine.measured("samples in part", marked, lambda n: flags == ["--nonblocking"] or n < 60)
