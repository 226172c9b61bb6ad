"""`podspy top` on pipes and bare terminals; colours; programs that it starts; slow readers."""

import contextlib
import fcntl
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from targets import run, running, wait_for

from tmux import rows_of

SHARES = pathlib.Path(__file__).with_name("shares.py")
COLOR = re.compile(rb"\x1b\[(?:\d+;)*[39][0-7](?:;\d+)*m")


@pytest.fixture(scope="module")
def busy():
    with running([sys.executable, SHARES, "marked-%d" % os.getpid()]) as target:
        yield target


def watch(podspy, *args, seconds=1.5, **kwargs):
    """What top prints on a pipe until SIGTERM: (status, output, errors)."""
    process = subprocess.Popen([podspy, "top", "--delay", "0.3", *map(str, args)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, **kwargs)
    try:
        out, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        out, errors = process.communicate(timeout=20)
    return process.returncode, out, errors


@contextlib.contextmanager
def on_terminal(argv, **env):
    """A program on a pseudo terminal: (pid, its other end)."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(argv[0], [str(a) for a in argv], {**os.environ, **env})
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    try:
        yield pid, fd
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        os.close(fd)


def read_until(fd, pattern, seconds=15):
    got, end = b"", time.monotonic() + seconds
    while not re.search(pattern, got):
        assert time.monotonic() < end, got
        if select.select([fd], [], [], 0.2)[0]:
            got += os.read(fd, 65536)
    return got


def test_a_pipe_gets_plain_text(podspy, busy):
    status, out, errors = watch(podspy, "-p", "marked-%d" % os.getpid())
    assert "pid %d, Python 3" % busy.pid in out
    assert status == 0 and errors == "" and "\x1b" not in out
    screens = out.split("\n\n%s" % out.split("\n")[0])
    assert len(screens) >= 2 and rows_of(screens[-1].split("\n"))


def test_a_dumb_terminal_gets_plain_text(podspy, busy):
    with on_terminal([podspy, "top", "-p", busy.pid, "--delay", "0.3"], TERM="dumb") as (_, fd):
        got = read_until(fd, rb"s  spin[^\n]*\n(?s:.*)s  spin[^\n]*\n")
        assert b"\x1b" not in got and all(len(line) <= 80 for line in got.decode().split("\r\n"))


@pytest.mark.parametrize("env,colors", [({}, True), ({"NO_COLOR": "1", "CLICOLOR_FORCE": "1"}, False),
                                        ({"CLICOLOR": "0"}, False), ({"CLICOLOR": "0", "CLICOLOR_FORCE": "1"}, True)])
def test_colors_follow_the_environment(podspy, busy, env, colors):
    env = {"NO_COLOR": "", "CLICOLOR": "", "CLICOLOR_FORCE": "", "TERM": "xterm-256color", **env}
    with on_terminal([podspy, "top", "-p", busy.pid, "--delay", "0.3"], **env) as (_, fd):
        assert bool(COLOR.search(read_until(fd, rb"spin"))) == colors


def test_processes_share_one_table(podspy, busy):
    parent = ("import subprocess, sys\ndef parent_waits(p):\n while p.poll() is None: sum(range(20000))\n"
              "p = subprocess.Popen([sys.executable, %r])\ntry: parent_waits(p)\nfinally: p.kill()" % str(SHARES))
    with running([sys.executable, "-c", parent]) as family:
        try:
            _, out, _ = watch(podspy, "-s", "-p", family.pid)
            last = out[out.rindex("Samples"):]
            assert "Processes 2" in last and "parent_waits" in last and "three " in last
            _, out, errors = watch(podspy, "-p", family.pid, "-p", busy.pid)
            last = out[out.rindex("Samples"):]
            assert " and 1 more" in out and "parent_waits" in last and "three " in last and errors == ""
        finally:
            with open(f"/proc/{family.pid}/task/{family.pid}/children") as children:
                for child in children.read().split():
                    os.kill(int(child), signal.SIGKILL)


def test_a_started_program_keeps_its_status_and_its_output_is_kept_apart(podspy, tmp_path):
    code = ("import sys, time\nprint('working \\x1b[31m')\nend = time.time() + 1\n"
            "def spin():\n while time.time() < end: pass\nspin()\nsys.exit('no luck' if sys.stdin.read() == '' else 4)")
    (tmp_path / "fails.py").write_text(code)
    status, out, errors = watch(podspy, "--", sys.executable, tmp_path / "fails.py", seconds=20)
    assert status == 1 and re.search(r"spin \(.*fails.py:", out) and "working" not in out
    assert re.fullmatch(r"process \d+ ended\nThe program ended with status 1\.\nThe program's output:\n"
                        r"    working \\x1b\[31m\n    no luck\n", errors), errors


def test_what_cannot_be_watched_is_said_in_one_line(podspy):
    got = run([podspy, "top", "-p", str(os.getppid() and 999999999)])
    assert got.returncode == 1 and got.stdout == b"" and got.stderr.startswith(b"Error: ")
    assert run([podspy, "top"]).returncode == 2


def memory_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


def test_a_terminal_that_takes_nothing_slows_nobody(podspy, busy):
    argv = [podspy, "top", "-p", busy.pid, "--delay", "0.1"]
    with on_terminal(argv, TERM="xterm", COLUMNS="400", LINES="100") as (pid, fd):
        read_until(fd, rb"q quit")
        os.write(fd, b"\x13")  # Control-S
        time.sleep(0.5)
        before = memory_kib(pid)
        time.sleep(2)
        assert memory_kib(pid) < before + 2048
        os.write(fd, b"\x11")
        read_until(fd, rb"\x1b")
        os.kill(pid, signal.SIGTERM)
        last = read_until(fd, rb"1049l(?s:.*)Late rounds \d+\s")
        assert wait_for(lambda: os.waitpid(pid, os.WNOHANG)[0])
    samples, late = re.findall(rb"Samples (\d+).*Late rounds (\d+)", last)[-1]
    rounds = int(samples) / 3 + int(late)  # of three threads
    assert rounds > 100 * 2  # seconds in which nothing was read


def test_a_pipe_that_nobody_reads_does_not_keep_it_from_ending(podspy, busy):
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen([podspy, "top", "-p", str(busy.pid), "--delay", "0.1"], stdout=write,
                               stderr=subprocess.PIPE)
    try:
        time.sleep(1.5)
        process.terminate()
        assert process.wait(10) == 1
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        os.close(read)
        os.close(write)
