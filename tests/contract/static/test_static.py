"""The static program runs wherever it is copied: without libraries, without files, on old kernels."""

import fcntl
import json
import os
import pathlib
import platform
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

import machine
import pythons
import targets

if os.environ.get("PODSPY_SANITIZE"):
    pytest.skip("the sanitizers need shared libraries", allow_module_level=True)

CONFINE = pathlib.Path(__file__).resolve().parent.parent / "doctor" / "confine.py"
LAST_OF_LINUX_3_10 = 313  # finit_module, arch/x86/syscalls/syscall_64.tbl
BUSY = """
import sys
def spin():
    n = 0
    while True:
        n += 1
def main():
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    spin()
main()
"""
# Mounts in the root are private to the namespace. Arguments: the root, the folders bound into it, the command.
ROOTED = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
IN_ROOT = 'mount -t proc proc "$1/proc" && cd / && root=$1 && shift 2 && exec chroot "$root" "$@"'


@pytest.fixture(scope="module")
def static(program):
    return program("podspy-static")


@pytest.fixture(scope="module")
def busy():
    with targets.running([sys.executable, "-c", BUSY]) as t:
        yield t


def read_until(fd, words, seconds=60):
    end, seen = time.monotonic() + seconds, b""
    while words not in seen:
        assert select.select([fd], [], [], end - time.monotonic())[0], seen
        more = os.read(fd, 65536)
        assert more, seen
        seen += more
    return seen


def names_of(dump):
    return [f["name"] for thread in json.loads(dump) for f in thread["frames"]]


def test_it_needs_no_shared_library(static):
    said = targets.run(["readelf", "-lWd", static]).stdout.decode()
    assert "INTERP" not in said and "(NEEDED)" not in said
    assert "GNU_RELRO" in said and "DYN" in targets.run(["readelf", "-h", static]).stdout.decode()


def test_it_opens_only_proc_and_what_the_target_has_mapped(static, busy, tmp_path):
    log = tmp_path / "calls"
    r = targets.run(["strace", "-f", "-e", "trace=open,openat,openat2,socket,connect", "-o", log, static,
                     "dump", "-p", str(busy.pid)])
    if not log.exists() or b"ptrace" in r.stderr:
        pytest.skip("strace may not trace here")
    assert r.returncode == 0, r.stderr
    text = log.read_text()
    paths = re.findall(r'open(?:at2?)?\((?:AT_FDCWD, )?"(/[^"]*)"', text)
    assert paths and all(p.startswith(("/proc", "/sys/fs/cgroup")) for p in paths), paths
    assert "socket(" not in text


def empty(root):
    pass


def musl_and_busybox(root):
    loader, busybox = pathlib.Path("/lib/ld-musl-%s.so.1" % platform.machine()), shutil.which("busybox")
    if not busybox or not loader.exists():
        pytest.skip("there are no musl and busybox")
    for folder in "lib", "bin":
        (root / folder).mkdir()
    shutil.copy(loader, root / "lib" / loader.name)
    shutil.copy(busybox, root / "bin" / "busybox")
    (root / "bin" / "sh").symlink_to("busybox")


def suite(name):
    def make(root):
        found = pythons.cache() / "roots" / name
        if not (found / ".podspy-ready").exists():
            pytest.skip("no root of %s: tests/interpreters.sh roots makes it" % name)
        return found
    make.__name__ = name
    return make


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
@pytest.mark.parametrize("kind", [empty, musl_and_busybox, suite("bookworm")], ids=lambda k: k.__name__)
def test_it_runs_in_any_root(kind, static, busy, tmp_path):
    if why := machine.why_no_namespaces():
        pytest.skip(why)
    root = tmp_path / "root"
    root.mkdir()
    given = kind(root)  # is not changed: a folder of ours is bound into it
    setup = IN_ROOT
    if given:
        root, setup = given, 'mount --bind "$2" "$1/mnt" && ' + IN_ROOT
    place = tmp_path if given else root
    where = "/mnt" if given else ""
    (root / "proc").mkdir(exist_ok=True)
    shutil.copy(static, place / "podspy")
    inside = [*ROOTED, setup, "sh", root, place, where + "/podspy"]
    r = targets.run([*inside, "dump", "-j", "-p", str(busy.pid)])
    assert r.returncode == 0, r.stderr
    assert names_of(r.stdout) == ["spin", "main", "<module>"]
    out = "/stacks.txt"
    r = targets.run([*inside, "record", "-d", "0.5", "-f", "raw", "-o", where + out, "-p", str(busy.pid)])
    assert r.returncode == 0, r.stderr
    assert "main (" in (place / out.lstrip("/")).read_text()
    r = targets.run([*inside, "doctor", "-p", str(busy.pid)])
    assert b"It can be profiled." in r.stdout, r.stdout
    with targets.running([*inside, "top", "--delay", "0.2", "-p", str(busy.pid)], wait_line=False) as top:
        read_until(top.process.stdout.fileno(), b"spin (")
        top.process.send_signal(signal.SIGINT)
        assert top.process.wait(30) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_top_draws_where_no_terminal_is_described(static, busy, tmp_path):
    if why := machine.why_no_namespaces():
        pytest.skip(why)
    (tmp_path / "proc").mkdir()
    shutil.copy(static, tmp_path / "podspy")
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    top = subprocess.Popen([*ROOTED, IN_ROOT, "sh", tmp_path, "", "/podspy", "top", "--delay", "0.2", "-p", str(busy.pid)],
                           stdin=its, stdout=its, env={**os.environ, "TERM": "tmux-256color"})
    try:
        drawn = read_until(ours, b"spin")
        assert b"\x1b[?1049h" in drawn  # the other screen of the terminal
        os.write(ours, b"q")
        read_until(ours, b"\x1b[?1049l")
        assert top.wait(30) == 0
    finally:
        top.kill()
        top.wait()
        os.close(ours)
        os.close(its)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
@pytest.mark.parametrize("command", [["dump", "-j"], ["record", "-d", "0.5", "-f", "raw", "-o", "OUT"], ["doctor"]],
                         ids=lambda c: c[0])
def test_it_needs_no_system_call_newer_than_those_of_centos_7(command, static, busy, tmp_path):
    out = str(tmp_path / "out")
    argv = [a.replace("OUT", out) for a in command]
    r = targets.run([sys.executable, CONFINE, "newer", str(LAST_OF_LINUX_3_10), "--", static, *argv, "-p", str(busy.pid)])
    assert r.returncode == 0, r.stderr
    if command[0] == "record":
        assert "main (" in pathlib.Path(out).read_text()


def test_it_says_where_the_agent_is(static):
    r = targets.run([static, "agent"])
    assert r.returncode == 1
    assert re.fullmatch(rb"Error: the static podspy has no agent; install the Debian package podspy, .*\n", r.stderr)


WHO = "import os; print(os.getuid(), os.getgid(), sorted(os.getgroups()))"
FILES = """
mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/group" /etc/group && shift && exec "$@"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
@pytest.mark.parametrize("uid, expected", [(4242, "4242 4242 [4242, 4301, 4303]"), (4243, "4243 4242 [4242]")])
def test_under_sudo_a_program_gets_the_groups_that_it_has_without(uid, expected, static, podspy, tmp_path):
    if why := machine.why_no_namespaces():
        pytest.skip(why)
    (tmp_path / "passwd").write_text("root:x:0:0::/:/bin/sh\ncaller:x:4242:4242::/:/bin/sh\n")
    (tmp_path / "group").write_text("root:x:0:\ncaller:x:4242:\na:x:4301:other,caller\nb:x:4302:other\nc:x:4303:caller\n")
    for program in static, podspy:
        r = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", FILES, "sh", tmp_path, program,
                            "record", "-f", "raw", "-o", tmp_path / "out", "--", "/usr/bin/python3", "-c", WHO],
                           env={**os.environ, "SUDO_UID": str(uid), "SUDO_GID": "4242"}, capture_output=True, text=True,
                           timeout=60)
        assert r.stdout.strip() == expected, (program, r.stderr)
