"""record of several processes, and of the stacks that --include and --exclude leave."""

import contextlib
import os
import re

import pytest

import targets

BUSY = "import time\ndef %s():\n    while True: sum(range(500))\nprint('ready', flush=True)\n%s()"
TWO = "import time\ndef hot():\n    sum(range(5000))\ndef cold():\n    sum(range(5000))\nprint('ready', flush=True)\nwhile True:\n    hot()\n    cold()"


@pytest.fixture
def busy():
    """busy(name) starts a program that is always in a function of that name."""
    with contextlib.ExitStack() as stack:
        yield lambda name: stack.enter_context(targets.running(["/usr/bin/python3", "-c", BUSY % (name, name)]))


def record(podspy, *args):
    done = targets.run([podspy, "record", "-d", "1", "-f", "raw", "-o", "-", *args])
    return done.returncode, done.stdout.decode().splitlines(), done.stderr.decode()


def is_of(line, pid):
    """The outermost frame is that process's: its program and, in brackets, its PID."""
    return line.partition(";")[0].endswith(" (%d)" % pid)


def test_several_processes_stand_below_a_frame_each(podspy, busy):
    a, b = busy("in_a"), busy("in_b")
    code, lines, said = record(podspy, "-i", "-p", str(a.pid), "--pid", hex(b.pid))  # -i: they may wait for a CPU
    assert code == 0
    for pid, function, other in ((a.pid, "in_a", "in_b"), (b.pid, "in_b", "in_a")):
        of_it = [line for line in lines if is_of(line, pid)]
        assert any(";%s (" % function in line for line in of_it), said
        assert not any(";%s (" % other in line for line in of_it), of_it
    assert all(is_of(line, a.pid) or is_of(line, b.pid) for line in lines)


def test_a_thread_stands_for_its_process_wherever_it_is_given(podspy, busy):
    a = busy("in_a")
    code = "import threading, time\nthreading.Thread(target=time.sleep, args=(900,)).start()\nprint('ready', flush=True)\nwhile True: sum(range(500))"
    with targets.running(["/usr/bin/python3", "-c", code]) as b:
        [thread] = [t for t in os.listdir("/proc/%d/task" % b.pid) if int(t) != b.pid]
        code, lines, said = record(podspy, "-p", str(a.pid), "-p", thread)
    assert code == 0 and any(is_of(line, b.pid) for line in lines), said


def test_of_several_processes_those_that_cannot_be_read_are_named(podspy, busy):
    a = busy("in_a")
    with targets.running(["sleep", "900"], wait_line=False) as other:
        code, lines, said = record(podspy, "-p", str(a.pid), "-p", str(other.pid))
    assert code == 0 and lines
    assert re.search(r"^Process %d has no samples: .*Python" % other.pid, said, re.M)


def test_a_recording_of_several_lasts_until_the_last_has_ended(podspy, busy):
    brief = "import time\nprint('ready', flush=True)\nend = time.time() + 2\nwhile time.time() < end: sum(range(500))"
    with targets.running(["/usr/bin/python3", "-c", brief]) as a, targets.running(["/usr/bin/python3", "-c", brief]) as b:
        done = targets.run([podspy, "record", "-f", "raw", "-o", "-", "-p", str(a.pid), "-p", str(b.pid)])
    assert done.returncode == 0 and b"the program has ended" in done.stderr


@pytest.mark.parametrize("flags,has,lacks", [
    (["--include", r"hot "], "hot (", "cold ("), (["--exclude", "hot"], "cold (", "hot ("),
    (["--include", "hot", "--include", "cold"], "cold (", "nothing"), (["--include", "<module>", "--exclude", "^cold"], "hot (", "cold ("),
], ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_only_stacks_that_the_expressions_leave_are_written(podspy, flags, has, lacks):
    with targets.running(["/usr/bin/python3", "-c", TWO]) as t:
        code, lines, _ = record(podspy, "-p", str(t.pid), *flags)
    assert code == 0
    assert any(has in line for line in lines) and not any(lacks in line for line in lines)


def test_an_expression_that_cannot_be_used_is_refused_before_sampling(podspy):
    code, lines, said = record(podspy, "--include", "(", "--", "/usr/bin/python3", "-c", "print('ran')")
    assert code == 2 and lines == [] and "--include '(': missing closing parenthesis" in said


def test_what_the_filters_leave_nothing_of_is_said(podspy, busy):
    code, lines, said = record(podspy, "-p", str(busy("in_a").pid), "--include", "no_such_function")
    assert code == 0 and lines == [] and "No samples to show: the filters leave none." in said
