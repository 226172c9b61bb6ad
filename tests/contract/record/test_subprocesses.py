"""record --subprocesses: descendants are sampled as they come and go, each below the frames of its ancestors."""

import contextlib
import html
import os
import re
import shutil
import subprocess
import sys

import pytest

import machine
import pythons
import targets

WORK = "import os, subprocess, sys, time\ndef busy(t):\n    end = time.time() + t\n    while time.time() < end: sum(range(500))\n"
FAMILY = WORK + """
child = os.fork()
if child == 0:
    def in_child(): busy(2)
    in_child()
    os._exit(0)
grandchild = subprocess.Popen(["sh", "-c", '"$0" -c "$1"; true', sys.executable, sys.argv[1]])
def in_parent(): busy(2)
in_parent()
grandchild.wait()
os.waitpid(child, 0)
"""
GRANDCHILD = WORK + "def in_grandchild(): busy(2)\nin_grandchild()\n"


def record(podspy, *args, seconds=120):
    done = targets.run([podspy, "record", "-f", "raw", "-o", "-", *args], seconds=seconds)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines(), done.stderr.decode()


def processes_of(line):
    """The pids of the outermost frames."""
    return [int(n) for n in re.findall(r'(?:^|;)[^;]* \((\d+)\)(?=[; ])', line)]


def lines_with(lines, function):
    return [line for line in lines if function + " (" in line]


@pytest.mark.parametrize("python", pythons.three(), ids=pythons.id_of)
def test_children_and_grandchildren_stand_below_their_ancestors(python, podspy):
    if python.root:
        pytest.skip("the program of this interpreter runs in another root")
    lines, _ = record(podspy, "-s", "--", *python.argv_code(FAMILY, GRANDCHILD))
    parent, child, grandchild = (lines_with(lines, f) for f in ("in_parent", "in_child", "in_grandchild"))
    assert parent and child and grandchild
    [root] = {tuple(processes_of(line)) for line in parent}
    [of_child] = {tuple(processes_of(line)) for line in child}
    [of_grandchild] = {tuple(processes_of(line)) for line in grandchild}
    assert len(root) == 1 and of_child[:-1] == root
    assert of_grandchild[0] == root[0] and len(of_grandchild) == 3  # the shell between has a frame as well
    assert all(re.search(r";sh \(\d+\);", line) for line in grandchild)


def test_without_the_option_children_are_left_out(podspy):
    lines, _ = record(podspy, "--", "/usr/bin/python3", "-c", FAMILY, GRANDCHILD)
    assert lines_with(lines, "in_parent")
    assert not lines_with(lines, "in_child") and not lines_with(lines, "in_grandchild")
    assert not any(processes_of(line) for line in lines)


def test_the_children_that_a_process_has_already_are_found(podspy):
    code = WORK + "if os.fork() == 0:\n    def in_child(): busy(900)\n    in_child()\nprint('ready', flush=True)\ntime.sleep(900)"
    with contextlib.ExitStack() as stack:
        t = stack.enter_context(targets.running(["/usr/bin/python3", "-c", code]))
        with open("/proc/%d/task/%d/children" % (t.pid, t.pid)) as f:
            child = int(f.read())
        stack.callback(os.kill, child, 9)
        lines, _ = record(podspy, "-s", "-p", str(t.pid), "-d", "1")
        assert {tuple(processes_of(line)) for line in lines_with(lines, "in_child")} == {(t.pid, child)}


def test_a_shell_may_be_the_root(podspy):
    lines, _ = record(podspy, "-s", "--", "sh", "-c", '"$0" -c "$1"; true', "/usr/bin/python3", GRANDCHILD)
    assert lines_with(lines, "in_grandchild")


def test_with_threads_each_has_a_frame_below_its_process(podspy):
    lines, _ = record(podspy, "-s", "-t", "--", "/usr/bin/python3", "-c", FAMILY, GRANDCHILD)
    assert all(re.search(r'[^;]* \(%d\);thread \(%d\): MainThread;' % (pid, pid), line)
               for line in lines_with(lines, "in_child") for pid in processes_of(line)[-1:])


def test_hundreds_of_short_children_are_followed_and_forgotten(podspy):
    code = WORK + ("for _ in range(10):\n    p = [subprocess.Popen([sys.executable, '-S', '-c', 'pass']) for _ in range(10)]\n"
                   "    [x.wait() for x in p]\ndef in_parent(): busy(1)\nin_parent()\n")
    lines, said = record(podspy, "-s", "--", "/usr/bin/python3", "-c", code)
    assert lines_with(lines, "in_parent") and "Samples: " in said


def test_a_child_that_calls_exec_has_its_new_command_line(podspy):
    code = WORK + ("if os.fork() == 0:\n    def before(): busy(1)\n    before()\n"
                   "    os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])\nos.wait()\n")
    def late_samples():
        lines, _ = record(podspy, "-s", "--", "/usr/bin/python3", "-c", code, GRANDCHILD.replace("in_grandchild", "after"))
        old, new = lines_with(lines, "before"), lines_with(lines, "after")
        assert old and new
        assert {processes_of(line)[-1] for line in old} == {processes_of(line)[-1] for line in new}
        counts = {True: 0, False: 0}
        for line in new:
            counts["os.execv" in line.split(";")[1]] += int(line.rpartition(" ")[2])
        return counts[True], counts[False]

    # An interpreter that is loaded at the same address again is noticed a tenth of a second later.
    machine.measured("samples under the old and the new command line", late_samples, lambda n: n[0] <= n[1] / 2)


def test_the_file_is_written_when_all_have_ended(podspy, tmp_path):
    """A child that outlives the program is sampled until it ends as well."""
    code = WORK + "if os.fork() == 0:\n    def orphan(): busy(2)\n    orphan()\n    os._exit(0)\nbusy(0.5)\n"
    lines, said = record(podspy, "-s", "--", sys.executable, "-c", code)
    assert lines_with(lines, "orphan") and "the program has ended" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to run a child as another user")
def test_descendants_that_cannot_be_read_are_listed(podspy, tmp_path):
    """By a podspy without privileges: its child becomes root's by a file that sets the user's id."""
    child = shutil.copy("/usr/bin/python3", tmp_path / "child-python")
    for folder in (tmp_path, *tmp_path.parents):
        if folder == tmp_path or "pytest" in folder.name:
            folder.chmod(0o755)
    os.chmod(child, 0o4755)
    out = tmp_path / "out"
    out.mkdir()
    os.chown(out, 65534, 65534)
    parent = WORK + "child = subprocess.Popen([sys.argv[1], '-c', 'import time; time.sleep(3)'])\nbusy(2)\nchild.kill()\n"
    if subprocess.run([child, "-c", "import os, sys; sys.exit(os.geteuid() != 0)"], user=65534, group=65534).returncode:
        pytest.skip("no programs that set the user's id here")
    with open(podspy, "rb") as program:
        r = subprocess.run(["/proc/self/fd/%d" % program.fileno(), "record", "-s", "-o", out / "o.svg", "--", "/usr/bin/python3",
                            "-c", parent, child], capture_output=True, text=True, pass_fds=[program.fileno()], user=65534,
                           group=65534, extra_groups=[], timeout=60, cwd="/")
    assert r.returncode == 0, r.stderr
    [line] = re.findall(r"^Process \d+ \(.*child-python .*\) was not read: not allowed to read process.*$", r.stderr, re.M)
    assert line[:60] in html.unescape((out / "o.svg").read_text())
