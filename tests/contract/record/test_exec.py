"""A program that becomes another one while it is recorded: every stack under the command line that it had."""

import json
import os
import re
import subprocess
import xml.etree.ElementTree

import pytest

import pythons
import targets

SUPPORTED = pythons.three()
if os.environ.get("PODSPY_SANITIZE"):
    SUPPORTED = SUPPORTED[:1] + SUPPORTED[-1:]
# Each becomes the next, and itself: there the interpreter may be at the very same addresses.
PAIRS = [(p, p) for p in SUPPORTED] + list(zip(SUPPORTED, SUPPORTED[1:] + SUPPORTED[:1]))
FIRST = """
import os, sys, time
def before():
    end = time.time() + 1
    while time.time() < end: pass
before()
os.execv(sys.argv[1], sys.argv[1:])
"""
SECOND = """
import time
def after():
    end = time.time() + 1.5
    while time.time() < end: pass
after()
"""


def scripts(tmp_path):
    first, second = tmp_path / "first.py", tmp_path / "second.py"
    first.write_text(FIRST)
    second.write_text(SECOND)
    return first, second


def counts(raw):
    """{(process frame, function): samples} of before and after."""
    found = {}
    for line in raw.splitlines():
        stack, _, n = line.rpartition(" ")
        m = re.match(r'([^;]* \(\d+\));.*?\b(before|after) \(', stack)
        if m:
            found[m[1], m[2]] = found.get((m[1], m[2]), 0) + int(n)
    return found


@pytest.mark.parametrize("one,other", PAIRS, ids=lambda p: p.id)
def test_stacks_are_shown_under_their_program(one, other, podspy, tmp_path):
    first, second = scripts(tmp_path)
    argv = [one.path, first, other.path, second]
    r = targets.run([podspy, "record", "-i", "-f", "raw", "-o", "-", "--", *argv])
    assert r.returncode == 0, r.stderr
    found = counts(r.stdout.decode())
    pid = next(iter(found))[0].split()[-1]
    old, new = f"first.py {pid}", f"second.py {pid}"
    wrong = {k: n for k, n in found.items() if k not in ((old, "before"), (new, "after"))}
    assert found.get((old, "before"), 0) > 5 and found.get((new, "after"), 0) > 5, found
    # Where nothing but the addresses of its stack tells, it is noticed within a fifth of a second.
    moved = one is not other or b"pie" in subprocess.run(["file", "-L", one.path], capture_output=True).stdout
    assert sum(wrong.values()) <= (0 if moved else 25), found


@pytest.mark.parametrize("one,other", PAIRS[-2:], ids=lambda p: p.id)
def test_the_version_is_that_of_the_running_program(one, other, podspy, tmp_path):
    first, second = scripts(tmp_path)
    r = targets.run([podspy, "record", "-i", "-f", "json", "-o", "-", "--", one.path, first, other.path, second])
    series = [s["labels"] for s in json.loads(r.stdout)["meta"]["series"] if s["period_ns"]]
    versions = {s["process.command"].split(" ")[0]: s["process.runtime.version"]
                for s in series if "process.runtime.version" in s}
    assert versions == {one.path: one.version, other.path: other.version}


@pytest.mark.parametrize("flags", [[], ["-d", "3"]], ids=["ended", "alive"])
def test_the_title_is_the_command(flags, podspy, tmp_path):
    first, second = scripts(tmp_path)
    out = tmp_path / "o.svg"
    for argv in ([SUPPORTED[0].path, second], [SUPPORTED[0].path, first, SUPPORTED[0].path, second]):
        r = targets.run([podspy, "record", "-i", *flags, "-o", out, "--", *argv])
        assert r.returncode == 0, r.stderr
        title = xml.etree.ElementTree.parse(out).getroot().find("{http://www.w3.org/2000/svg}title").text
        assert title == "%s %s" % (SUPPORTED[0].path, second)


def test_a_launcher_is_not_mistaken_for_the_program(podspy, tmp_path):
    """A shell that becomes the interpreter, as pyenv's do."""
    _, second = scripts(tmp_path)
    launcher = tmp_path / "launch"
    launcher.write_text("#!/bin/sh\nsleep 0.3\nexec %s %s\n" % (SUPPORTED[0].path, second))
    launcher.chmod(0o755)
    r = targets.run([podspy, "record", "-i", "-f", "speedscope", "-o", "-", "--", launcher])
    scope = json.loads(r.stdout)
    assert scope["name"] == "%s %s" % (SUPPORTED[0].path, second)
    assert len(scope["profiles"]) == 1
