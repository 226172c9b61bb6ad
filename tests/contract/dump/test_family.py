"""podspy dump -s: a process and all below it, each with a header of its own."""

import json
import subprocess

import pytest

import targets

PYTHON = "/usr/bin/python3"
LEAF = "import sys, time\ndef in_%s(): print('ready', flush=True); time.sleep(600)\nin_%s()"
# python -> sh -> python, and python -> sleep, a zombie
TREE = """
import subprocess, sys, time
p = subprocess.Popen(["sh", "-c", '"$0" -c "$1"; true', sys.executable, sys.argv[1]], stdout=subprocess.PIPE)
p.stdout.readline()
q = subprocess.Popen(["sleep", "600"])
z = subprocess.Popen(["true"])
def in_root():
    print(p.pid, q.pid, z.pid, flush=True)
    time.sleep(600)
in_root()
"""


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return [int(n) for n in f.read().split()]


def end_all_below(pid):
    for child in children(pid):
        end_all_below(child)
        subprocess.run(["kill", "-9", str(child)])


@pytest.fixture(scope="module")
def tree():
    """(the root, the shell below it, the Python below that)"""
    with targets.running([PYTHON, "-c", TREE, LEAF % ("leaf", "leaf")]) as t:
        shell, _, zombie = map(int, t.said.split())
        targets.wait_for(lambda: targets.state_of(zombie) == "Z")
        [leaf] = children(shell)
        yield t.pid, shell, leaf
        end_all_below(t.pid)


def test_each_process_has_a_header_of_its_own(podspy, tree):
    root, shell, leaf = tree
    r = targets.run([podspy, "dump", "-s", "-p", str(root)])
    assert (r.returncode, r.stderr) == (0, b"")
    first, second = r.stdout.decode().split("\n" + 80 * "-" + "\n")
    assert first.startswith("Process %d: %s -c " % (root, PYTHON)) and "    in_root (" in first
    assert second.startswith("Process %d: %s -c " % (leaf, PYTHON)) and "    in_leaf (" in second
    assert "\nParent Process %d: sh -c " % shell in second and "Parent" not in first


def test_json_lists_the_threads_of_all(podspy, tree):
    root, shell, leaf = tree
    threads = json.loads(targets.run([podspy, "dump", "-s", "-j", "-p", str(root)]).stdout)
    assert [t["pid"] for t in threads] == [root, leaf]
    above, below = (t["process_info"] for t in threads)
    assert (above["pid"], above["parent"]) == (root, None)
    assert [below["pid"], below["parent"]["pid"], below["parent"]["parent"]] == [leaf, shell, above]
    assert above["command_line"].startswith(PYTHON + " -c ")


def test_the_root_need_not_be_python(podspy, tree):
    _, shell, leaf = tree
    r = targets.run([podspy, "dump", "-s", "-p", str(shell)])
    assert r.returncode == 0 and r.stdout.decode().startswith("Process %d: " % leaf)


def test_without_any_python_it_is_an_error(podspy, tree):
    sleep = children(tree[0])[1]
    r = targets.run([podspy, "dump", "-s", "-p", str(sleep)])
    assert r.returncode == 1 and b"there is no Python in process %d" % sleep in r.stderr


def test_without_the_option_descendants_are_left_alone(podspy, tree):
    [thread] = json.loads(targets.run([podspy, "dump", "-j", "-p", str(tree[0])]).stdout)
    assert thread["pid"] == tree[0] and thread["process_info"] is None
