"""`podspy attended` and `podspy processes`, which `kubectl podspy` runs in the agent's pod."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import targets

BUSY = "import time\ndef burn():\n    while True:\n        sum(range(1000))\nprint(flush=True)\nburn()\n"


@pytest.fixture
def busy():
    with targets.running([sys.executable, "-c", BUSY]) as target:
        yield target


def attended(podspy, *args, **more):
    return subprocess.Popen([podspy, "attended", *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, **more)


def recorder_of(process):
    """The pid of the command that attended runs, once it is podspy record."""
    def look():
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as f:
            children = f.read().split()
        if not children:
            return None
        with open(f"/proc/{children[0]}/cmdline", "rb") as f:
            return int(children[0]) if b"record" in f.read().split(b"\0")[1:2] else None
    return targets.wait_for(look)


@pytest.mark.parametrize("how", ["end of input", "signal"])
def test_a_recording_ends_in_order(podspy, busy, how):
    process = attended(podspy, "record", "-p", str(busy.pid), "-f", "raw", "-o", "-")
    recorder_of(process)
    time.sleep(1)
    if how == "signal":
        process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)  # which ends its input
    assert process.returncode == 0, err
    assert b"burn (" in out
    assert f"podspy: {len(out)} bytes were sent\n" in err.decode()


def test_the_recording_ends_when_attended_is_killed(podspy, busy):
    process = attended(podspy, "record", "-p", str(busy.pid), "-f", "raw", "-o", "-")
    recorder = recorder_of(process)
    process.kill()
    targets.wait_for(lambda: not os.path.exists(f"/proc/{recorder}") or targets.state_of(recorder) == "Z", 20)
    process.communicate()


def test_a_reader_that_left_ends_it(podspy, busy):
    process = attended(podspy, "record", "-p", str(busy.pid), "-f", "raw", "-o", "-", "-d", "1")
    process.stdout.close()
    process.stdout = None
    done = process.wait(30), process.stderr.read()
    process.stdin.close()
    assert done[0] == 141 and b"podspy: 0 bytes were sent" in done[1]


def test_the_status_is_the_commands(podspy):
    process = attended(podspy, "dump", "--pid", "999999999")
    process.wait(30)
    assert process.returncode == 1 and b"Error: there is no process" in process.communicate()[1]
    process = attended(podspy, "dump", "--no-such-option")
    process.wait(30)
    assert process.returncode == 2
    process.communicate()
    done = targets.run([podspy, "attended"])
    assert done.returncode == 2 and b"give a command" in done.stderr


def test_processes_lists_python_and_nothing_else(podspy, busy):
    with targets.running(["sleep", "60"], wait_line=False) as other:
        text = targets.run([podspy, "processes"]).stdout.decode()
        listed = {p["pid"]: p for p in json.loads(targets.run([podspy, "processes", "-j"]).stdout)}
    version = ".".join(map(str, sys.version_info[:2]))
    assert re.search(rf"^ *{busy.pid} +{busy.pid} +\S+ +{version}\S* +\S*python", text, re.M)
    assert other.pid not in listed
    assert listed[busy.pid]["python_version"].startswith(version) and not listed[busy.pid]["problem"]
    assert listed[busy.pid]["parent_pid"] == os.getpid() and "burn" in listed[busy.pid]["command"]


def test_processes_of_a_container_that_is_not_here(podspy):
    done = targets.run([podspy, "processes", "--container", "0" * 64])
    assert done.returncode == 1 and b"no Python process is visible here in the given containers" in done.stderr
    done = targets.run([podspy, "processes", "-j", "--container", "0" * 64])
    assert done.returncode == 0 and json.loads(done.stdout) == []
