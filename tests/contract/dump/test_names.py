"""Threads are shown by the names that the program gave them."""

import json
import os
import re
import subprocess

import pytest

import pythons
import targets

HERE = os.path.dirname(__file__)
SUPPORTED = pythons.few() if os.environ.get("PODSPY_SANITIZE") else pythons.supported()
each = pytest.mark.parametrize("python", SUPPORTED, ids=pythons.id_of)
ENV = dict(os.environ, PYTHONIOENCODING="utf-8")
LONGEST = 128  # bytes


def as_shown(name):
    if len(name.encode()) <= LONGEST:
        return name
    return name.encode()[:LONGEST].decode(errors="ignore") + "\u2026"


def running(python):
    return targets.running(python.argv(HERE + "/named.py"), env=ENV, stdin=subprocess.PIPE)


def comm_of(pid, tid):
    with open("/proc/%d/task/%d/comm" % (pid, tid)) as f:
        return f.read().rstrip("\n")


def check(podspy, target, said):
    done = targets.run([podspy, "dump", "-j", "-p", str(target.pid)])
    assert done.returncode == 0, done.stderr
    shown = {str(e["thread_id"]): e for e in json.loads(done.stdout.decode())}
    assert len(said) > 7
    for ident, name in said.items():
        e = shown[ident]
        want = as_shown(name) if name else comm_of(target.pid, e["os_thread_id"])
        assert e["thread_name"] == want, e
    assert [e["thread_name"] for e in shown.values() if e["os_thread_id"] == target.pid] == ["MainThread"]


@each
def test_dump_shows_current_thread_names(python, podspy):
    with running(python) as t:
        check(podspy, t, t.said)
        t.process.stdin.write(b"\n")
        t.process.stdin.flush()
        renamed = t.read_line()
        assert sum("in round 0" in (name or "") for name in renamed.values()) == 7
        check(podspy, t, renamed)


@pytest.mark.parametrize("python", pythons.few(), ids=pythons.id_of)
def test_record_follows_a_changed_thread_name(python, podspy, tmp_path):
    out = tmp_path / "out"
    with running(python) as t:
        argv = [podspy, "record", "-i", "-t", "-p", str(t.pid), "-d", "8", "-f", "raw", "-o", out]
        with targets.running(argv, wait_line=False, stderr=subprocess.PIPE) as recording:
            targets.wait_for(lambda: recording.process.stderr.readline())  # "Sampling process ..."
            for _ in range(3):  # its names are asked for again when something of it ran
                targets.time.sleep(1.2)
                t.process.stdin.write(b"\n")
                t.process.stdin.flush()
                t.read_line()
            assert recording.process.wait(60) == 0
            recording.process.stderr.close()
        shown = set(re.findall(r"(?:thread|Thread)[^;]*?(plain|renamed 0 in round \d)", out.read_text()))
        assert {"plain", "renamed 0 in round 2"} <= shown, out.read_text()[:3000]
