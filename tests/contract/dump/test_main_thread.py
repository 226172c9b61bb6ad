"""A process whose main thread has ended while others run on, and a thread's number in place of a process's."""

import json
import os
import re
import subprocess

import pytest

import machine
import pythons
import targets

SUPPORTED = pythons.few() if os.environ.get("PODSPY_SANITIZE") else pythons.supported()
each = pytest.mark.parametrize("python", SUPPORTED, ids=pythons.id_of)
# Its main thread ends at once or after so many seconds; the other says where it stands, and stays there.
SCRIPT = """
import ctypes, json, platform, sys, threading, time

def say(frame):
    out = []
    while frame:
        code = frame.f_code
        out.append([getattr(code, "co_qualname", code.co_name), frame.f_lineno])
        frame = frame.f_back
    sys.stdout.write(json.dumps(out) + "\\n"); sys.stdout.flush()

def wait():
    begun.wait()
    say(sys._getframe()); time.sleep(600)

def work():
    begun.wait()
    say(sys._getframe())
    while state() != "Z": pass
    after()

def after():
    while True: pass

def state(): # of the main thread
    with open("/proc/self/stat") as f:
        return f.read().rpartition(")")[2].split()[0]

begun = threading.Event()
thread = threading.Thread(target=work if "work" in sys.argv else wait)
thread.start()
begun.set()
time.sleep(float(sys.argv[1]))
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)  # exit: of this thread alone
"""


def start(python, tmp_path, *args, **kwargs):
    if subprocess.run(python.argv_code("import ctypes"), stderr=subprocess.DEVNULL).returncode:
        pytest.skip("%s has no ctypes" % python.id)
    script = tmp_path / "main_thread.py"
    script.write_text(SCRIPT)
    return targets.running(python.argv(script, *args), **kwargs)


def wait_for_end(pid):
    targets.wait_for(lambda: targets.state_of(pid) == "Z")


def other_thread(pid):
    return next(int(tid) for tid in os.listdir("/proc/%d/task" % pid) if int(tid) != pid)


@each
def test_threads_are_read_after_the_main_thread_has_ended(python, podspy, tmp_path):
    with start(python, tmp_path, "0") as t:
        wait_for_end(t.pid)
        tid = other_thread(t.pid)
        targets.wait_for(lambda: targets.state_of_thread(t.pid, tid) == "S")
        for flags in ([], ["--nonblocking"], ["--blocking"]):
            r = targets.run([podspy, "dump", "-j", "-p", str(t.pid), *flags])
            assert r.returncode == 0 and r.stderr == b"", r.stderr
            thread, = json.loads(r.stdout)  # the one that has ended is not there
            assert thread["os_thread_id"] == tid and thread["thread_name"] != "MainThread"
            assert [[f["name"], f["line"]] for f in thread["frames"]] == t.said
            assert (thread["active"], thread["error"]) == (False, None)
        text = targets.run([podspy, "dump", "-p", str(t.pid)]).stdout.decode().splitlines()
        assert re.match(r"Process %d: .*main_thread\.py 0$" % t.pid, text[0])
        assert text[1] == "Python v%s (%s)" % (python.version, os.readlink("/proc/%d/task/%d/exe" % (t.pid, tid)))
        r = targets.run([podspy, "doctor", "-p", str(t.pid)])
        assert r.returncode == 0 and b"whose main thread has ended while others run on" in r.stdout


@pytest.mark.parametrize("python", pythons.few(), ids=pythons.id_of)
def test_record_continues_after_the_main_thread_has_ended(python, podspy, tmp_path):
    def samples():
        with start(python, tmp_path, "1", "work") as t:
            r = targets.run([podspy, "record", "-i", "-r", "50", "-d", "3", "-f", "raw", "-o", "-", "-p", str(t.pid)])
            assert targets.state_of(t.pid) == "Z", "the main thread did not end"
        assert b"the time is up" in r.stderr
        counts = [line.rpartition(b" ") for line in r.stdout.splitlines()]
        return [sum(int(count) for stack, _, count in counts if name in stack) for name in (b"work (", b";after (")]

    # Some 150, a hundred of them after the end.
    machine.measured("samples, and those after the main thread's end", samples, lambda n: n[0] > n[1] > 10)


def test_a_process_whose_threads_have_all_ended_is_a_zombie(podspy):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        targets.wait_for(lambda: targets.state_of(pid) == "Z")
        r = targets.run([podspy, "doctor", "-p", str(pid)])
        assert r.returncode == 1 and b"(a zombie)" in r.stdout
    finally:
        os.waitpid(pid, 0)


def test_a_thread_id_selects_its_process(podspy, tmp_path):
    python = next(p for p in SUPPORTED if p.path == "/usr/bin/python3" and not p.root)
    with start(python, tmp_path, "600") as t:
        tid = other_thread(t.pid)
        targets.wait_for(lambda: targets.state_of(t.pid) == targets.state_of_thread(t.pid, tid) == "S")
        note = "podspy: %d is a thread of process %d: reading that process\n" % (tid, t.pid)
        by_pid, by_tid = (targets.run([podspy, "dump", "-j", "-p", str(n)]) for n in (t.pid, tid))
        assert by_tid.stdout == by_pid.stdout and by_pid.stderr == b"" and by_tid.stderr.decode() == note
        names = {e["os_thread_id"]: e["thread_name"] for e in json.loads(by_tid.stdout)}
        assert names[t.pid] == "MainThread" and names[tid] != "MainThread"
        text = targets.run([podspy, "dump", "-p", str(tid)]).stdout.decode()
        assert text.startswith("Process %d: " % t.pid)
        r = targets.run([podspy, "record", "-i", "-d", "1", "-f", "raw", "-o", "-", "-p", str(tid)])
        assert r.returncode == 0 and b"wait (" in r.stdout and r.stderr.decode().startswith(note)
        r = targets.run([podspy, "doctor", "-p", str(tid)])
        assert r.returncode == 0 and r.stderr.decode() == note and b"process %d (" % t.pid in r.stdout
