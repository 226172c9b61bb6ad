"""-n shows the threads that Python does not know, by their native frames, and no thread of Python's as such a thread."""

import json
import os
import pathlib
import re
import subprocess

import pytest

import pythons
import targets

UNKNOWN = "[not known to Python]"

POOL = """
import ctypes, sys, time
ctypes.CDLL(sys.argv[1]).begin_pool()
sys.stdout.write("ready\\n")
sys.stdout.flush()
while True: time.sleep(1000)
"""

# Threads of Python's that begin and end at every moment.
CHURN = """
import sys, threading
def short():
    sum(range(1000))
sys.stdout.write("ready\\n")
sys.stdout.flush()
while True:
    threads = [threading.Thread(target=short) for _ in range(8)]
    for t in threads: t.start()
    for t in threads: t.join()
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("pool") / "pool.so"
    subprocess.run(["cc", "-O1", "-g", "-fPIC", "-shared", "-pthread", "-fno-optimize-sibling-calls",
                    pathlib.Path(__file__).with_name("pool.c"), "-o", path], check=True, timeout=120)
    return str(path)


@pytest.fixture(params=pythons.three(), ids=pythons.id_of)
def python(request, library):
    argv = request.param.argv_code("import ctypes; ctypes.CDLL(%r)" % library)
    if subprocess.run(argv, capture_output=True, timeout=60).returncode:
        pytest.skip("%s cannot load the library" % request.param.id)
    return request.param


def threads_of(text):
    """title -> frames"""
    found, title = {}, None
    for line in text.splitlines():
        if line.startswith("Thread "):
            title = line
            found[title] = []
        elif line.startswith("    ") and title:
            found[title].append(line.strip())
    return found


def check_dump(podspy, pid):
    text = targets.run([podspy, "dump", "-n", "-p", str(pid)]).stdout.decode()
    found = {title: frames for title, frames in threads_of(text).items() if UNKNOWN in title}
    assert len(found) == 2, text
    busy = next(t for t in found if '(active): "pool-busy"' in t)
    idle = next(t for t in found if '(idle): "pool-idle"' in t)
    assert [f.partition(" ")[0] for f in found[busy]] == ["pool_burn", "pool_busy"], text
    assert found[idle][-1].startswith("pool_idle (") and len(found[idle]) > 1, text


def check_json(podspy, pid):
    shown = json.loads(targets.run([podspy, "dump", "-n", "-j", "-p", str(pid)]).stdout)
    busy = next(t for t in shown if t["thread_name"] == "pool-busy")
    assert busy["active"] and not busy["owns_gil"] and busy["thread_id"] == 0, busy
    assert os.path.exists("/proc/%d/task/%d" % (pid, busy["os_thread_id"]))
    assert [f["name"] for f in busy["frames"]] == ["pool_burn", "pool_busy"], busy
    assert busy["frames"][0]["module"].endswith("pool.so"), busy


def record(podspy, pid, *args):
    argv = [podspy, "record", "-n", "-p", str(pid), "-d", "1", "-r", "100", "-f", "raw", "-o", "-", *args]
    done = targets.run(argv)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode(), done.stderr.decode()


def check_record(podspy, pid):
    # Without -i only what runs is shown. A busy machine may not give the pool a CPU for a second, or not in time to
    # hold it: then its frames are not known.
    stacks = targets.wait_for(lambda: record(podspy, pid, "-t")[0])
    shown = set(re.sub(r" \(\S+\)| \d+$", "", line) for line in stacks.splitlines())
    held = "thread: pool-busy;[no Python code];pool_busy;pool_burn"
    assert shown <= {held, "thread: pool-busy;[no Python code]"}, stacks
    stacks, said = record(podspy, pid, "-i")
    assert re.search(r"^\[no Python code\];pool_busy \(\S+\);pool_burn \(\S+\) \d+$", stacks, re.M), (stacks, said)
    assert re.search(r"^\[no Python code\];pool_idle \(\S+\);.*sem\S* \(", stacks, re.M), (stacks, said)
    assert re.search(r"^<module> \(\S+\)", stacks, re.M), (stacks, said)


def test_threads_of_a_library_are_shown(podspy, python, library):
    with targets.running(python.argv_code(POOL, library)) as t:
        check_dump(podspy, t.pid)
        check_json(podspy, t.pid)
        check_record(podspy, t.pid)
        plain = targets.run([podspy, "dump", "-p", str(t.pid)]).stdout.decode()
        assert UNKNOWN not in plain and len(threads_of(plain)) == 1, plain


@pytest.mark.parametrize("python", pythons.few(), ids=pythons.id_of)
def test_no_thread_of_pythons_is_taken_for_one_of_a_library(podspy, python):
    with targets.running(python.argv_code(CHURN)) as t:
        for _ in range(4):
            text = targets.run([podspy, "dump", "-n", "-p", str(t.pid)]).stdout.decode()
            assert "MainThread" in text
            for title, frames in threads_of(text).items():
                # Before Python's list has it, or after: then it runs no code of Python's.
                assert UNKNOWN not in title or not any("short" in f or ".py:" in f for f in frames), text
