"""Starting the programs that the contract tests look at, and ending each by its own process id."""

import contextlib
import json
import os
import select
import subprocess
import time


class Target:
    def __init__(self, process):
        self.process = process
        self.pid = process.pid
        self.said = None

    def read_line(self, seconds=120):
        """The next line the target prints, as JSON when it is JSON."""
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        assert ready, "the target said nothing"
        line = self.process.stdout.readline()
        assert line, "the target ended"
        try:
            return json.loads(line)
        except ValueError:
            return line.strip()

    def drain(self):
        """Forgets what the target has printed up to now."""
        while select.select([self.process.stdout], [], [], 0)[0]:
            os.read(self.process.stdout.fileno(), 65536)
        self.process.stdout.readline()  # the rest of a line


def state_of_thread(pid, tid):
    """The letter of its state: R, S, T, t, Z."""
    with open("/proc/%d/task/%d/stat" % (pid, tid), "rb") as f:
        return f.read().rpartition(b")")[2].split()[0].decode()


def state_of(pid):
    return state_of_thread(pid, pid)


@contextlib.contextmanager
def running(argv, wait_line=True, **kwargs):
    """A running program; with wait_line, after it printed its first line (in .said)."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, bufsize=0, **kwargs)
    target = Target(process)
    try:
        if wait_line:
            target.said = target.read_line()
        yield target
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_for(what, seconds=60):
    """The first true answer. The limit only ends hangs: a busy machine may not run a program for seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = what()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("waited %s seconds in vain" % seconds)


# For bash -c: runs its arguments with a standard output that nobody reads any more, and prints the status.
TO_NOBODY = 'exec 3> >(:); wait $!; "$@" >&3 3>&-; echo $?'


def run(argv, seconds=180, **kwargs):
    return subprocess.run(argv, capture_output=True, timeout=seconds, **kwargs)
