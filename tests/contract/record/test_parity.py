"""What py-spy's own tests hold, for those cases that no other file here holds."""

import json
import re
import subprocess
import sys

import pytest

import machine
import pythons
import targets

each = pytest.mark.parametrize("python", pythons.three(), ids=pythons.id_of)
SLEEP = """import time, sys
def longsleep():
    sys.stdout.write("ready\\n"); sys.stdout.flush()
    time.sleep(900)
longsleep()
"""
NAMES = """import threading, time, sys
for i in range(10):
    t = threading.Thread(target=lambda: time.sleep(900))
    t.daemon = True
    t.name = "CustomThreadName-%d" % i
    t.start()
sys.stdout.write("ready\\n"); sys.stdout.flush()
time.sleep(900)
"""
REUSE = """import threading, time, sys
sys.stdout.write("ready\\n"); sys.stdout.flush()
while True:
    t = threading.Thread(target=lambda: time.sleep(0.02))
    t.start()
    t.join()
"""
RECURSION = """import sys
def recurse(x):
    if x:
        recurse(x - 1)
sys.stdout.write("ready\\n"); sys.stdout.flush()
while True:
    recurse(20)
"""
LINES_BACK = """import sys, time
def f():
    [
        # the line of the loop is below the line of what it calls
        time.sleep(900)
        for _ in (sys.stdout.write("ready\\n"), sys.stdout.flush())
    ]
f()
"""
ZOMBIE = """import os, sys, time
child = os.fork()
if child == 0:
    os._exit(0)
sys.stdout.write("%d\\n" % child); sys.stdout.flush()
while True: sum(range(100))
"""
VALUES = """# -*- coding: utf-8 -*-
import sys, time
def f(arg):
    empty, wide = u"", u"\u6d4b\u8bd51" * 200
    sys.stdout.write("ready\\n"); sys.stdout.flush()
    time.sleep(900)
f(1)
"""


@pytest.fixture
def script(tmp_path):
    """script(python, text) starts it."""
    def run(python, text, name="script.py"):
        (tmp_path / name).write_text(text)
        return targets.running(python.argv(str(tmp_path / name)))

    return run


def record(podspy, pid, *args):
    """(stacks as raw has them, samples, errors)"""
    done = targets.run([podspy, "record", "-p", str(pid), "-f", "raw", "-o", "-", *args])
    assert done.returncode == 0, done.stderr
    samples, errors = (int(n) for n in re.search(rb"Samples: (\d+) Errors: (\d+)", done.stderr).groups())
    return [line.rpartition(" ") for line in done.stdout.decode().splitlines()], samples, errors


def frames_of(podspy, pid, *args):
    done = targets.run([podspy, "dump", "-j", "-p", str(pid), *args])
    assert done.returncode == 0, done.stderr
    [thread] = json.loads(done.stdout)
    return thread["frames"]


@each
def test_a_sleep_is_idle_and_holds_no_gil(python, script, podspy):
    with script(python, SLEEP) as t:
        targets.wait_for(lambda: targets.state_of(t.pid) == "S")
        done = targets.run([podspy, "record", "-p", str(t.pid), "-d", "1", "--gil", "-f", "raw", "-o", "-"])
        assert done.returncode in (0, 1) and sum(int(s.rpartition(b" ")[2]) for s in done.stdout.splitlines()) <= 5
        stacks, samples, _ = record(podspy, t.pid, "-d", "1", "--idle")
        assert [s for s, _, _ in stacks] == ["<module> (script.py:5);longsleep (script.py:4)"] and samples > 20


@each
def test_each_thread_has_its_name_in_speedscope(python, script, podspy, tmp_path):
    out = tmp_path / "out"
    with script(python, NAMES) as t:
        done = targets.run([podspy, "record", "-p", str(t.pid), "-d", "1", "-t", "-i", "-f", "speedscope", "-o", str(out)])
        assert done.returncode == 0, done.stderr
    found = {re.search('"(.*)"', p["name"])[1] for p in json.loads(out.read_text())["profiles"]}
    assert found == {"CustomThreadName-%d" % i for i in range(10)} | {"MainThread"}


@each
def test_threads_that_end_and_begin_are_no_errors_with_native(python, script, podspy):
    def errors_and_samples():
        _, samples, errors = record(podspy, t.pid, "-n", "-i", "-d", "2")
        return errors, samples

    with script(python, REUSE) as t:
        machine.measured("errors, samples of short threads", errors_and_samples, lambda n: n[0] <= 3 and n[1] > 30)


@each
def test_the_root_of_a_recursion_is_always_the_module(python, script, podspy):
    with script(python, RECURSION) as t:
        stacks, samples, _ = record(podspy, t.pid, "-r", "200", "-d", "1")
    assert samples
    for stack, _, _ in stacks:
        frames = stack.split(";")
        assert re.fullmatch(r"<module> \(script\.py:[67]\)", frames[0]) and len(frames) <= 23, stack
        # The marker stands for the part of a stack that changed as it was read, of a thread that did not stop in time.
        assert all(f.startswith("recurse (") for f in frames[1:] if f != "[changing]"), stack


@each
def test_a_file_may_be_named_by_an_emoji(python, script, podspy):
    with script(python, SLEEP, "unicode\U0001f4a9.py") as t:
        frames = frames_of(podspy, t.pid)
    assert [(f["name"], f["short_filename"], f["line"]) for f in frames] == [
        ("longsleep", "unicode\U0001f4a9.py", 4), ("<module>", "unicode\U0001f4a9.py", 5)]


@each
def test_a_line_may_be_above_the_one_before(python, script, podspy):
    with script(python, LINES_BACK) as t:
        frames = frames_of(podspy, t.pid)
    line = 6 if python.minor < (3, 6) else 5  # whose line tables cannot go back
    assert frames[0]["line"] == line and (frames[-1]["name"], frames[-1]["line"]) == ("<module>", 8)
    assert [f["name"].rpartition(".")[2] for f in frames[:-1]] in (["f"], ["<listcomp>", "f"])


@each
def test_text_is_cut_between_characters_and_an_empty_one_shown(python, script, podspy):
    with script(python, VALUES) as t:
        variables = {v["name"]: v for v in frames_of(podspy, t.pid, "-l")[0]["locals"]}
    assert variables["empty"]["repr"].lstrip("u") == "''" and variables["arg"]["arg"]
    wide = variables["wide"]["repr"].lstrip("u")
    assert wide.startswith(("'\u6d4b\u8bd51\u6d4b", "'\\u6d4b\\u8bd51\\u6d4b")) and "\ufffd" not in wide and len(wide.encode()) < 300


@each
def test_a_zombie_among_the_children_does_no_harm(python, script, podspy):
    with script(python, ZOMBIE) as t:
        targets.wait_for(lambda: targets.state_of(int(t.said)) == "Z")
        stacks, samples, _ = record(podspy, t.pid, "-s", "-d", "1")
    assert samples and all("script.py" in s for s, _, _ in stacks)


def test_a_shell_is_waited_for_until_it_starts_python(podspy):
    """As long as a program that podspy itself has started."""
    late = "sleep 2; %s -c 'while True: sum(range(100))' & echo $!; wait" % sys.executable
    with targets.running(["bash", "-c", late]) as t:
        try:
            stacks, samples, _ = record(podspy, t.pid, "-s", "-d", "1")
            assert samples and all(s.partition(";")[0].endswith(" (%d)" % t.pid) for s, _, _ in stacks)
        finally:
            subprocess.run(["pkill", "-9", "-P", str(t.said)], check=False)
            subprocess.run(["kill", "-9", str(t.said)], check=False)
