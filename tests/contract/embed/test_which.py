"""The running one of several interpreters is read, however many files are mapped; Pythons that are not CPython are named."""

import os
import shutil
import struct
import subprocess

import pytest

import pythons
import targets
from test_embed import CODE, LIBRARIES, compiled, dumped

LOADS = "import ctypes\nother = ctypes.CDLL(sys.argv[1], ctypes.RTLD_LOCAL)\n"


def pairs():
    """(an interpreter, the library of another): the oldest, the newest, and those next to it."""
    for python in pythons.here():
        others = [(o, library) for o, library in LIBRARIES if o.minor != python.minor]
        older = [o for o in others if o[0].minor < python.minor]
        newer = [o for o in others if o[0].minor > python.minor]
        for other in {id(o): o for o in (older[:1] + older[-1:] + newer[:1] + newer[-1:])}.values():
            yield python, *other


PAIRS = list(pairs())


@pytest.mark.parametrize("python,other,library", PAIRS, ids=["%s with %s" % (p.id, o.id) for p, o, _ in PAIRS])
def test_a_loaded_but_unused_interpreter_is_skipped(python, other, library, podspy):
    code = CODE.replace("def inner", LOADS + "def inner")
    if subprocess.run(python.argv_code("import ctypes"), stderr=subprocess.DEVNULL).returncode:
        pytest.skip("%s has no ctypes" % python.id)
    with targets.running([*python.argv_code(code), library]) as t:
        with open("/proc/%d/maps" % t.pid) as f:
            assert str(library.resolve()) in f.read()
        assert dumped(podspy, t.pid) == [t.said["frames"]]
        r = targets.run([podspy, "dump", "-p", str(t.pid)])
        assert b"Python v%s (" % python.version.encode() in r.stdout and r.stderr == b""


# The modules of one interpreter would be looked for in the other's folder: it needs none.
BARE = """
import sys, time
try:
    import _thread
except ImportError:
    import thread as _thread
def nap():
    time.sleep(600)
if list(sys.version_info[:2]) == %s:
    for _ in range(3):
        _thread.start_new_thread(nap, ())
time.sleep(0.2)
sys.stdout.write("ready\\n")
sys.stdout.flush()
nap()
"""


@pytest.mark.parametrize("order", [1, -1], ids=["first", "second"])
@pytest.mark.parametrize("more", [0, 1], ids=["older", "newer"])
def test_of_two_running_interpreters_the_one_with_more_threads_is_read(more, order, podspy, tmp_path):
    if len(LIBRARIES) < 2:
        pytest.skip("there are no two Pythons here that are libraries")
    two = LIBRARIES[-2:]
    busy, idle = two[more][0], two[not more][0]
    host = compiled("host.c", tmp_path / "service")
    libraries = [library for _, library in two[::order]]
    with targets.running([host, BARE % list(busy.minor), *libraries], stderr=subprocess.DEVNULL) as t:
        t.read_line()
        r = targets.run([podspy, "dump", "-p", str(t.pid)])
        assert b"Python v%s (" % busy.version.encode() in r.stdout and r.stdout.count(b"    nap ") == 4
        said = r.stderr.decode()
        assert "two interpreters run in process %d" % t.pid in said and said.count("\n") == 1
        assert "Python %s is read" % busy.version in said and "Python %s (" % idle.version in said
        r = targets.run([podspy, "record", "-i", "-d", "1", "-f", "raw", "-o", "-", "-p", str(t.pid)])
        assert b"nap (<string>" in r.stdout and b"two interpreters run" in r.stderr
        assert b"CPython %s" % idle.version.encode() in targets.run([podspy, "doctor", "-p", str(t.pid)]).stdout


FILES = """
for i in range(1200):
    ctypes.CDLL("%s/l%%d.so" %% i)
"""


@pytest.mark.parametrize("python", pythons.few(), ids=pythons.id_of)
def test_an_interpreter_among_a_thousand_mapped_files_is_found(python, podspy, tmp_path):
    (tmp_path / "empty.c").write_text("int x;\n")
    library = tmp_path / "empty.so"
    subprocess.run(["cc", "-shared", "-nostdlib", "-o", library, tmp_path / "empty.c"], check=True)
    for i in range(1200):
        shutil.copy(library, tmp_path / ("l%d.so" % i))
    code = CODE.replace("def inner", "import ctypes\n" + FILES % tmp_path + "def inner")
    with targets.running(python.argv_code(code)) as t:
        assert dumped(podspy, t.pid) == [t.said["frames"]]


def long_chain():
    """A library all of whose symbols are in one chain of its hash table, so that each search takes long."""
    n, head, table = 1000, 64 + 2 * 56, b"\0" + b"nothing\0"
    dynamic = head
    hashes = dynamic + 5 * 16
    symbols = hashes + 4 * (2 + 1 + n)
    texts = symbols + 24 * n
    size = texts + len(table)
    out = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    out += struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, size, size, 4096)
    out += struct.pack("<IIQQQQQQ", 2, 4, dynamic, dynamic, dynamic, 80, 80, 8)
    for tag, value in ((4, hashes), (5, texts), (6, symbols), (10, len(table)), (0, 0)):
        out += struct.pack("<QQ", tag, value)
    out += struct.pack("<II", 1, n) + struct.pack("<I", 1)
    out += struct.pack("<%dI" % n, *[i + 1 if 0 < i < n - 1 else 0 for i in range(n)])
    out += struct.pack("<IBBHQQ", 1, 0x12, 0, 1, 0, 0) * n + table
    return out


def test_an_abandoned_search_is_reported(podspy, tmp_path):
    program = compiled("many.c", tmp_path / "service")
    (tmp_path / "long.so").write_bytes(long_chain())
    with targets.running([program, tmp_path / "long.so", "3000"]) as t:
        r = targets.run([podspy, "dump", "-p", str(t.pid)])
        text = r.stderr.decode()
        assert r.returncode == 1 and "mapped: the search ended after half a second of CPU time" in text, text
        looked, of = [int(word) for word in text.split() if word.isdigit()][:2]
        assert 0 < looked < of and of > 3000


# --- Pythons that are not CPython ---

def check_named(podspy, pid, name, tmp_path):
    want = "process %d runs %s; podspy reads CPython only" % (pid, name)
    for command in (["dump"], ["record", "-o", tmp_path / "out"]):
        r = targets.run([podspy, *command, "-p", str(pid)])
        assert r.returncode == 1 and r.stderr.decode() == "Error: %s\n" % want
    r = targets.run([podspy, "doctor", "-p", str(pid)])
    assert r.returncode == 1 and want in r.stdout.decode()


@pytest.mark.parametrize("exe,name", [("pypy3.11", "PyPy"), ("graalpy", "GraalPy"), ("micropython", "MicroPython")])
def test_another_python_is_named_by_its_program(exe, name, podspy, tmp_path):
    shutil.copy("/bin/sleep", tmp_path / exe)
    with targets.running([tmp_path / exe, "600"], wait_line=False) as t:
        targets.wait_for(lambda: os.readlink("/proc/%d/exe" % t.pid).endswith(exe))
        check_named(podspy, t.pid, name, tmp_path)


@pytest.mark.parametrize("library,name", [("libpypy3.11-c.so", "PyPy"), ("libpythonvm.so", "GraalPy")])
def test_another_python_is_named_by_its_library(library, name, podspy, tmp_path):
    (tmp_path / "empty.c").write_text("int x;\n")
    subprocess.run(["cc", "-shared", "-o", tmp_path / library, tmp_path / "empty.c"], check=True)
    with targets.running(["/bin/sleep", "600"], wait_line=False,
                         env=dict(os.environ, LD_PRELOAD=str(tmp_path / library))) as t:
        targets.wait_for(lambda: library in open("/proc/%d/maps" % t.pid).read())
        check_named(podspy, t.pid, name, tmp_path)


def test_a_cpython_with_another_pythons_library_is_read(podspy, tmp_path):
    (tmp_path / "empty.c").write_text("int x;\n")
    library = tmp_path / "libpypy3.11-c.so"
    subprocess.run(["cc", "-shared", "-o", library, tmp_path / "empty.c"], check=True)
    with targets.running(["/usr/bin/python3", "-c", CODE], env=dict(os.environ, LD_PRELOAD=str(library))) as t:
        assert dumped(podspy, t.pid) == [t.said["frames"]]


@pytest.mark.skipif(not shutil.which("pypy3"), reason="pypy3 is not installed")
def test_pypy_is_named(podspy, tmp_path):
    with targets.running(["pypy3", "-c", "print('ready', flush=True); import time; time.sleep(600)"]) as t:
        check_named(podspy, t.pid, "PyPy", tmp_path)
