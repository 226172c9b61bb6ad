"""The demo on a terminal of its own, where it stays until Ctrl-C."""

import contextlib
import fcntl
import os
import pathlib
import pty
import select
import subprocess
import termios
import time

DEMO = pathlib.Path(__file__).resolve().parents[3] / "deploy" / "docker" / "demo.sh"
STARTS_SECS, ENDS_SECS = 90, 30


@contextlib.contextmanager
def demo_that_stays(environment):
    """(its process, what it printed until it stays). It is ended by Ctrl-C, and must end with 0."""
    ours, terminal = pty.openpty()
    said = b""
    with subprocess.Popen([DEMO], env=environment, stdin=terminal, stdout=terminal, stderr=terminal,
                          start_new_session=True,
                          preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)) as demo:
        os.close(terminal)
        end = time.monotonic() + STARTS_SECS
        while b"until Ctrl-C" not in said and time.monotonic() < end and demo.poll() is None:
            if select.select([ours], [], [], 1)[0]:
                said += os.read(ours, 4096)
        try:
            yield demo, said.decode()
        finally:
            os.write(ours, b"\x03")
            status = demo.wait(ENDS_SECS)
    os.close(ours)
    assert status == 0
