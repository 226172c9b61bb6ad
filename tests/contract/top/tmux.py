"""A terminal that a test types into and looks at: tmux, with a server of its own."""

import contextlib
import os
import re
import shlex
import subprocess
import time


class Terminal:
    def __init__(self, socket):
        self._tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]

    def call(self, *args):
        got = subprocess.run([*self._tmux, *args], capture_output=True, text=True, timeout=20, env={
            **os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"})
        assert got.returncode == 0, got.stderr
        return got.stdout

    def keys(self, *keys):
        self.call("send-keys", *keys)

    def lines(self):
        return self.call("capture-pane", "-p").split("\n")[:-1]

    def wait(self, pattern, seconds=15):
        """The screen once the pattern is on it."""
        end = time.monotonic() + seconds
        while True:
            lines = self.lines()
            if re.search(pattern, "\n".join(lines), re.M):
                return lines
            assert time.monotonic() < end, f"no {pattern!r} on the screen:\n" + "\n".join(lines)
            time.sleep(0.05)


@contextlib.contextmanager
def terminal(folder, width, height, argv, env=()):
    """A terminal in which a shell runs argv; the modes before and after, and the status, go to files in folder."""
    script = (f"stty -g > {folder}/before; {shlex.join(map(str, argv))} 2> {folder}/errors; "
              f"echo $? > {folder}/status; stty -g > {folder}/after; echo the end; sleep 60")
    t = Terminal(folder / "tmux")
    try:
        t.call("new-session", "-d", "-x", str(width), "-y", str(height),
               shlex.join(["env", *env, "bash", "-c", script]))
        yield t
    finally:
        subprocess.run([*t._tmux, "kill-server"], capture_output=True, timeout=20)


def row_of(line):
    """(%Own, %Total, OwnTime, TotalTime, function) of a row, or None."""
    m = re.match(r" *([\d.]+)% +([\d.]+)% +([\d.]+)s +([\d.]+)s  (.+)$", line)
    return m and (*map(float, m.groups()[:4]), m[5])


def rows_of(lines):
    return [row for row in map(row_of, lines) if row]
