"""-n: native frames stand between the Python frames that they were called from and that they call."""

import json
import os
import pathlib
import re
import subprocess

import pytest

import machine
import pythons
import targets

WORKLOAD = pathlib.Path(__file__).with_name("workload.py")
PYTHON = re.compile(r"^(\S+) \(.*\.py:\d+\)$")
SORT = re.compile(r"^list_?sort")
# What only gets from one Python frame to the next is not shown.
# A type's own vectorcall, such as range_vectorcall, is work and is shown.
PLUMBING = re.compile(r"_?PyEval_|_TAIL_CALL|_?Py(Object_|Function_|)Vectorcall|method_vectorcall|vectorcall_|_?PyObject_Call"
                      r"|_start|__libc_start|main \(python")
SANITIZED = bool(os.environ.get("PODSPY_SANITIZE"))
KNOWN = [p for p in (pythons.few() if SANITIZED else pythons.supported()) if not p.free_threaded]


def record(podspy, pid, *args):
    done = targets.run([podspy, "record", "-n", "-p", str(pid), "-f", "raw", "-o", "-", *args])
    assert done.returncode == 0, done.stderr
    stacks = []
    for line in done.stdout.decode().splitlines():
        stack, _, count = line.rpartition(" ")
        stacks.append((stack.split(";"), int(count)))
    return stacks, done.stderr.decode()


def unmerged(said):
    """[samples that could not be merged though their thread was held, samples with native frames]"""
    failed, of = re.search(r"^Native frames: (\d+) of (\d+) samples could not be merged$", said, re.M).groups()
    not_held = re.search(r"^(\d+) of them because the thread did not stop in time", said, re.M)
    return [int(failed) - int(not_held[1] if not_held else 0), int(of)]


def python_names(frames):
    return [m[1].rpartition(".")[2] for m in map(PYTHON.match, frames) if m]


def share_of(stacks, holds):
    total = sum(count for _, count in stacks)
    return sum(count for frames, count in stacks if holds(frames)) / max(total, 1)


def between(frames, outer, inner):
    """The frames between those Python functions, where both are there and no other Python frame is between them."""
    at = {m[1].rpartition(".")[2]: i for i, m in enumerate(map(PYTHON.match, frames)) if m}
    if outer not in at or inner not in at:
        return None
    return frames[at[outer] + 1:at[inner]]


def check_order(stacks):
    names = {"leaf", "key", "items", "work", "<module>", "<listcomp>"}
    for frames, _ in stacks:
        # The order of the Python frames is a caller's and its callee's.
        own = [n for n in python_names(frames) if n in names]
        assert own in (["<module>", "work", "key", "leaf"][:len(own)], ["<module>", "work", "items", "leaf"][:len(own)],
                       ["<module>", "<listcomp>"]), frames
        assert not [f for f in frames if PLUMBING.match(f)], frames
        for outer, inner in (("key", "leaf"), ("work", "items"), ("<module>", "work")):
            assert not [f for f in between(frames, outer, inner) or [] if SORT.match(f)], frames


@pytest.mark.parametrize("python", KNOWN, ids=pythons.id_of)
def test_native_frames_stand_between_the_right_python_frames(podspy, python):
    def measure():
        stacks, said = record(podspy, t.pid, "-d", "1", "-r", "500")
        check_order(stacks)
        failed, of = unmerged(said)
        calls = [(f, n) for f, n in stacks if between(f, "work", "key") is not None]
        sorting = share_of(calls, lambda f: any(SORT.match(x) for x in between(f, "work", "key")))
        matching = [f for f, _ in stacks if re.search(r"sre|pattern_search", f[-1]) and "leaf" in python_names(f)]
        return of, failed, sorting, len(matching)

    # Measured: on a busy machine few samples are taken, and a thread that gets no CPU cannot be held in time.
    has_symbols = python.id.startswith("built")
    with targets.running(python.argv(WORKLOAD)) as t:
        machine.measured("samples, not merged, share below list.sort, stacks in re", measure,
                         lambda seen: SANITIZED or seen[0] >= 50 and seen[1] <= max(1, seen[0] / 100) and
                         (not has_symbols or seen[2] > 0.9 and seen[3] > 0))


def test_native_needs_pauses(podspy):
    done = targets.run([podspy, "record", "-n", "--nonblocking", "-p", "1"])
    assert done.returncode == 2
    assert b"--native pauses threads: leave out --nonblocking" in done.stderr


def test_trampolines_for_perf_are_not_shown_beside_their_python_frames(podspy):
    python = next((p for p in pythons.here() if p.id.startswith(("built-3.12", "built-3.13"))), None)
    python or pytest.skip("no built CPython 3.12 or 3.13")
    with targets.running(python.argv(WORKLOAD), env=dict(os.environ, PYTHONPERFSUPPORT="1")) as t:
        names = pathlib.Path("/tmp/perf-%d.map" % t.pid)
        try:
            targets.wait_for(lambda: "py::leaf:" in names.read_text())
            stacks, said = record(podspy, t.pid, "-d", "1", "-r", "200")
        finally:
            names.unlink()
    check_order(stacks)
    assert any(python_names(f)[-1] == "leaf" for f, _ in stacks if python_names(f)), stacks
    assert not [f for f, _ in stacks if any(x.startswith("py::") for x in f)]


def test_top_shows_native_functions(podspy):
    built = [p for p in pythons.here() if p.id.startswith("built-3")] or pytest.skip("no built CPython")
    with targets.running(built[-1].argv(WORKLOAD)) as t:
        p = subprocess.Popen([podspy, "top", "-n", "-p", str(t.pid), "--delay", "0.5"], env={"TERM": "dumb"},
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        try:
            assert any(b"sre_search (" in p.stdout.readline() for _ in range(500))
        finally:
            p.kill()
            p.wait()
            p.stdout.close()


SLEEPER = ("import sys, time\ndef key(secret):\n    time.sleep(1000)\ndef work():\n    sorted([17], key=key)\n"
           "sys.stdout.write('ready\\n')\nsys.stdout.flush()\nwork()")


@pytest.mark.parametrize("python", [p for p in pythons.few() if p.id.startswith("built")], ids=pythons.id_of)
def test_dump_shows_native_frames_with_variables(podspy, python):
    with targets.running(python.argv_code(SLEEPER)) as t:
        targets.wait_for(lambda: "sleep" in open("/proc/%d/wchan" % t.pid).read() or targets.state_of(t.pid) == "S")
        text = targets.run([podspy, "dump", "-n", "-l", "-p", str(t.pid)])
        shown = json.loads(targets.run([podspy, "dump", "-n", "-j", "-p", str(t.pid)]).stdout)
    assert text.returncode == 0 and not text.stderr, text.stderr
    order = r"sleep.*\n    key \(.*\n        Arguments:\n            secret: 17\n(?s:.*)sort(?s:.*)\n    work \("
    assert re.search(order, text.stdout.decode()), text.stdout.decode()
    frames = shown[0]["frames"]
    names = [f["name"] for f in frames]
    assert names.index("key") < min(i for i, n in enumerate(names) if SORT.match(n)) < names.index("work"), names
    assert all((f["module"] is None) == (f["line"] > 0) for f in frames), frames


def test_dump_refuses_native_where_nothing_can_be_paused(podspy):
    for args in (["--nonblocking", "-p", "1"], ["--core", "/dev/null"]):
        done = targets.run([podspy, "dump", "-n", *args])
        assert done.returncode == 2 and b"--native pauses threads: leave out --" in done.stderr


def test_idle_threads_have_native_frames_where_idle_is_asked_for(podspy):
    code = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(1000)"
    with targets.running(["/usr/bin/python3", "-c", code]) as t:
        stacks, said = record(podspy, t.pid, "-i", "-d", "0.5")
    assert unmerged(said)[0] <= 1
    assert share_of(stacks, lambda f: "clock_nanosleep" in f[-1]) > 0.9, stacks


def test_the_target_runs_on_when_the_recording_is_killed(podspy):
    code = "print('ready', flush=True)\nwhile True: sum(range(500))"
    with targets.running(["/usr/bin/python3", "-c", code]) as t:
        for _ in range(3):
            p = subprocess.Popen([podspy, "record", "-n", "-r", "1000", "-p", str(t.pid), "-o", "/dev/null"],
                                 stderr=subprocess.DEVNULL)
            try:
                targets.wait_for(lambda: open("/proc/%d/status" % t.pid).read().count("TracerPid:\t%d\n" % p.pid))
            finally:
                p.kill()
                p.wait()
            targets.wait_for(lambda: targets.state_of(t.pid) in "RS")
