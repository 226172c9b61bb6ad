"""The text of dump shows the names that a program chose, and nothing of them acts on a terminal."""

import json
import os
import re
import subprocess

import pytest

import pythons
import targets

SUPPORTED = pythons.few() if os.environ.get("PODSPY_SANITIZE") else pythons.supported()
each = pytest.mark.parametrize("python", SUPPORTED, ids=pythons.id_of)
# What acts on a terminal or on the reader of a line: control characters, separators of lines, directions of text.
ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
# A function, a file and a thread with names that try to; the name of a thread has 15 bytes. Of 2.7 names are bytes.
SCRIPT = r"""
import ctypes, sys, threading, time
name = sys.argv[1].encode("latin-1").decode("unicode_escape") if sys.version_info[0] > 2 else sys.argv[1].decode("unicode_escape")
filed = name if sys.version_info[0] > 2 else name.encode("utf-8")
ns = {}
exec(compile('def f():\n    __import__("time").sleep(600)', filed, 'exec'), ns)
def named():
    ctypes.CDLL(None).prctl(15, b'\x1b[31mred')
    time.sleep(600)
t = threading.Thread(target=named, name='\x1b[31mred')
t.daemon = True
t.start()
time.sleep(0.3)
sys.stdout.write("ready\n"); sys.stdout.flush()
ns['f']()
"""
HOSTILE = '/srv/a\\nThread 1 (active): "forged"\\x1b[2J\\x9b31m\\r\\x07\\u202e\\u2066\\u200f\\u2028\\u200b.py'


@each
def test_names_are_shown_escaped(python, podspy):
    with targets.running(python.argv_code(SCRIPT, HOSTILE)) as t:
        targets.wait_for(lambda: targets.state_of(t.pid) == "S")
        r = targets.run([podspy, "dump", "--full-filenames", "-p", str(t.pid)])
        assert r.returncode == 0, r.stderr
        text = r.stdout.decode()
        whole = json.loads(targets.run([podspy, "dump", "-j", "-p", str(t.pid)]).stdout)
    assert not ACTS.search(text), text
    assert text.count("\nThread ") == 2
    assert "    f (%s:2)\n" % HOSTILE in text  # each is shown as Python writes it
    assert '): "\\x1b[31mred"\n' in text
    assert "\x1b[31mred" in [thread["thread_name"] for thread in whole]
    filed = HOSTILE.encode("latin-1").decode("unicode_escape")
    assert filed in [f["filename"] for thread in whole for f in thread["frames"]]


def test_arguments_are_shown_escaped(podspy):
    argv = ["/usr/bin/python3", "-c", "print(1, flush=True)\nimport time\ntime.sleep(600)", "\x1b[2J\n\u202e", b"\x9b\xff"]
    with targets.running(argv) as t:
        text = targets.run([podspy, "dump", "-p", str(t.pid)]).stdout.decode()
    assert not ACTS.search(text)
    first, second = text.split("\n")[:2]
    assert first == ("Process %d: /usr/bin/python3 -c print(1, flush=True)\\nimport time\\ntime.sleep(600) "
                     "\\x1b[2J\\n\\u202e \\x9b\\xff" % t.pid)
    assert second.startswith("Python v")


def test_an_executables_name_is_shown_escaped(podspy, tmp_path):
    link = tmp_path / "a\n\x1b[2J\u202e"
    link.symlink_to("/usr/bin/python3")
    with targets.running([link, "-c", "print(1, flush=True)\nimport time\ntime.sleep(600)"]) as t:
        for argv in (["dump"], ["dump", "-j"], ["doctor"]):
            r = targets.run([podspy, *argv, "-p", str(t.pid)])
            assert r.returncode == 0 and not ACTS.search(r.stdout.decode()), argv


def test_errors_quote_names_escaped(podspy, tmp_path):
    core = tmp_path / "a\n\x1b[2J\u202e"
    core.write_text("nothing")
    r = targets.run([podspy, "dump", "-c", core])
    assert r.returncode == 1 and not ACTS.search(r.stderr.decode()) and r.stderr.count(b"\n") == 1
    assert b"a\\n\\x1b[2J\\u202e" in r.stderr


NAPS = "print(1, flush=True)\nimport time\ntime.sleep(600)"
DEEP = "import time\ndef f(n):\n    if n: f(n - 1)\n    print(1, flush=True)\n    time.sleep(600)\nf(900)"


@pytest.mark.parametrize("argv", [["dump", "-p"], ["dump", "-j", "-p"], ["doctor", "-p"]], ids=" ".join)
def test_a_closed_pipe_prints_no_message(argv, podspy):
    with targets.running(["/usr/bin/python3", "-c", DEEP]) as t:
        r = targets.run(["bash", "-c", targets.TO_NOBODY, "-", podspy, *argv, str(t.pid)])
        assert (r.stdout, r.stderr) == (b"141\n", b"")


@pytest.mark.parametrize("argv", [["dump", "-p"], ["doctor", "-p"], ["completions"]], ids=" ".join)
def test_a_full_disk_is_an_error(argv, podspy):
    with targets.running(["/usr/bin/python3", "-c", NAPS]) as t, open("/dev/full", "wb") as full:
        last = "bash" if argv == ["completions"] else str(t.pid)
        r = subprocess.run([podspy, *argv, last], stdout=full, stderr=subprocess.PIPE, timeout=60)
        assert r.returncode == 1
        assert r.stderr == b"Error: cannot write to standard output: No space left on device\n"
