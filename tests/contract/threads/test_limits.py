"""One process of more threads than podspy may have files open, or than it samples."""

import os
import re
import subprocess

import pytest

import targets

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3"
SAMPLED = 8192  # SPY_PY_THREADS_MAX
# Threads of the machine that others may need: a test that takes most of them is not run.
SPARE = 4 * SAMPLED


def program(*args):
    return [PYTHON, "-S", f"{HERE}/waiting.py", *map(str, args)]


def counts(raw):
    """{innermost function: samples} of raw stacks."""
    found = {}
    for line in raw.splitlines():
        stack, _, n = line.rpartition(" ")
        name = stack.rpartition(";")[2].partition(" ")[0]
        found[name] = found.get(name, 0) + int(n)
    return found


def record(podspy, pid, out, *flags, **kwargs):
    done = targets.run([podspy, "record", "-p", str(pid), "-f", "raw", "-o", out, *flags], 120, **kwargs)
    said = re.search(rb"Samples: (\d+) Errors: (\d+)", done.stderr)
    assert done.returncode == 0 and said, done.stderr
    return counts(out.read_text()), int(said[1]), int(said[2]), done.stderr.decode()


@pytest.mark.parametrize("limit", [(1024, 1024), (32, 64)])
def test_idle_threads_are_shown_as_waiting_under_any_limit(podspy, tmp_path, limited, limit):
    with targets.running(program(700)) as t:
        done = targets.run([podspy, "dump", "-p", str(t.pid)], preexec_fn=limited(*limit))
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(b"\nThread ") == 701
        assert done.stdout.count(b"(idle)") == 701
        working, samples, errors, _ = record(podspy, t.pid, tmp_path / "out", "-d", "1", "-r", "20",
                                             preexec_fn=limited(*limit))
        assert sum(working.values()) < samples / 100 and samples > 700 and errors == 0


def test_busy_threads_are_sampled_under_a_low_limit(podspy, tmp_path, limited):
    with targets.running(program(300, 3)) as t:
        found, _, errors, _ = record(podspy, t.pid, tmp_path / "out", "-d", "3", preexec_fn=limited(32, 64))
        print(found)
        assert found.get("work_and_rest", 0) > 50 and errors == 0


def test_the_started_program_has_podspys_original_limit(podspy, tmp_path, limited):
    code = "import resource, time; print(resource.getrlimit(resource.RLIMIT_NOFILE)); time.sleep(1)"
    done = targets.run([podspy, "record", "-d", "0.5", "-o", tmp_path / "out", "--", PYTHON, "-u", "-c", code],
                       preexec_fn=limited(200, 400))
    assert b"(200, 400)" in done.stdout, done


def threads_max():
    most = [int(open("/proc/sys/kernel/" + name).read()) for name in ("threads-max", "pid_max")]
    return min(most)


@pytest.mark.skipif(threads_max() < SPARE, reason="the machine allows too few threads")
def test_among_very_many_threads_the_busy_are_sampled_and_the_rest_counted(podspy, tmp_path):
    more = 300
    with targets.running(program(SAMPLED + more, 4), wait_line=False, stderr=subprocess.DEVNULL) as t:
        t.said = t.read_line(180)  # so many threads take a while to start
        left_out = 8 + 1 + more
        done = targets.run([podspy, "dump", "-p", str(t.pid)])
        assert done.returncode == 0, done.stderr
        text = done.stdout.decode()
        assert text.count("\nThread ") == SAMPLED
        assert f"\n{left_out} threads left out" in text
        assert len(re.findall(r" work_and_rest \(", text)) == 8
        working, _, errors, said = record(podspy, t.pid, tmp_path / "out", "-d", "5", "-r", "10")
        print(working, said)
        assert working["work_and_rest"] > 5  # a few rounds: it works a tenth of the time
        assert errors and errors % left_out == 0
        assert f"{errors} of these errors are threads beyond the first {SAMPLED}" in said
