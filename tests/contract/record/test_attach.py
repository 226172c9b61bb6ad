"""Processes that are given by a pattern, or by --all."""

import contextlib
import os
import re
import shutil
import uuid

import pytest

import targets

WORK = "def work():\n    while True: sum(range(500))\nprint('ready', flush=True)\nwork()"


@contextlib.contextmanager
def workers(n):
    """n processes that have a word of their own in their command lines; the word, and their pids."""
    word = "worker-" + uuid.uuid4().hex
    with contextlib.ExitStack() as stack:
        yield word, [stack.enter_context(targets.running(["/usr/bin/python3", "-c", WORK, word, str(i)])).pid
                     for i in range(n)]


@pytest.fixture(scope="module")
def two():
    with workers(2) as w:
        yield w


def dump(podspy, pattern, **kwargs):
    r = targets.run([podspy, "dump", "-p", pattern], **kwargs)
    return r.returncode, r.stdout.decode(), r.stderr.decode()


def test_a_pattern_means_the_process_that_matches(two, podspy):
    word, pids = two
    code, out, _ = dump(podspy, r"%s 1$" % word)
    assert code == 0 and out.startswith("Process %d: " % pids[1]) and "work (" in out


def test_several_matches_are_listed(two, podspy):
    word, pids = two
    code, out, said = dump(podspy, word)
    assert code == 1 and out == ""
    *listed, error = said.splitlines()
    assert sorted(int(line.split()[0]) for line in listed) == sorted(pids)
    assert all(word in line for line in listed)
    assert error == "Error: 2 processes match '%s': give the id of one as --pid, or a pattern that only one matches" % word


def test_a_pattern_without_match_says_what_to_do(podspy):
    code, _, said = dump(podspy, "no-such-process")
    assert code == 1 and re.fullmatch(r"Error: no Python process has 'no-such-process' in its command line: .*\n", said)


def test_podspy_its_ancestors_and_other_programs_do_not_match(podspy):
    word = "only-here-" + uuid.uuid4().hex
    with targets.running(["/bin/sh", "-c", "echo ready; read x", word], stdin=targets.subprocess.PIPE):
        r = targets.run(["/usr/bin/python3", "-c", "import subprocess, sys; subprocess.run(sys.argv[1:3] + ['-p', sys.argv[3]])",
                         podspy, "dump", word])
    assert b"no Python process has" in r.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_a_match_that_may_not_be_read_counts(two, podspy, tmp_path):
    word, pids = two
    program = shutil.copy(podspy, "/tmp/podspy-%s" % word)  # where every user gets
    try:
        code, _, said = dump(program, word, user=65534, group=65534, extra_groups=[], cwd="/")
    finally:
        os.unlink(program)
    assert code == 1 and len(re.findall(r"^ *\d+  .* -- not allowed to read process", said, re.M)) == 2, said


def test_record_takes_patterns_and_ids(two, podspy):
    word, pids = two
    r = targets.run([podspy, "record", "-p", word + " 0", "-p", str(pids[1]), "-p", str(pids[1]), "-d", "0.5", "-f", "raw", "-o", "-"])
    assert r.returncode == 0, r.stderr
    assert {int(n) for n in re.findall(rb'^[^;]* \((\d+)\);', r.stdout, re.M)} == set(pids)


def test_all_are_recorded(two, podspy):
    _, pids = two
    r = targets.run([podspy, "record", "--all", "-d", "1", "-f", "raw", "-o", "-"])
    assert r.returncode == 0, r.stderr
    assert set(pids) <= {int(n) for n in re.findall(rb'^[^;]* \((\d+)\);', r.stdout, re.M)}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_all_lists_those_that_may_not_be_read(two, podspy):
    _, pids = two
    program = shutil.copy(podspy, "/tmp/podspy-" + uuid.uuid4().hex)
    try:
        r = targets.run([program, "record", "--all", "-d", "0.3", "-o", "/dev/null"],
                        user=65534, group=65534, extra_groups=[], cwd="/")
    finally:
        os.unlink(program)
    said = r.stderr.decode()
    for pid in pids:
        assert re.search(r"^Process %d \(/usr/bin/python3 .*\) was not read: not allowed to read process" % pid, said, re.M), said
