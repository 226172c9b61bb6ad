"""Frames that the interpreter did not make: those of functions that a compiler (Nuitka) turned into C."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

import pythons
import targets

HERE = pathlib.Path(__file__).resolve().parent
SUPPORTED = pythons.few() if os.environ.get("PODSPY_SANITIZE") else pythons.supported()
MODES = [[], ["--nonblocking"], ["--blocking"]]
CODE = """
import functools, sys, time
sys.path.insert(0, sys.argv[1])
from pushes import run

def deepest(): # interpreted
    run("leaf", 70001, functools.partial(time.sleep, 600))

def below():
    def twice():
        run("inner", 22, deepest)
    list(generator(twice))

def generator(f):
    yield f()

sys.stdout.write("ready\\n"); sys.stdout.flush()
run("outer", 11, functools.partial(run, "again", 3, below))
"""


def include_flags(python):
    code = "import sysconfig; print(sysconfig.get_path('include')); print(sysconfig.get_path('platinclude'))"
    folders = [str(python.root or "") + f for f in subprocess.check_output(python.argv_code(code), text=True).split()]
    needed = ["Python.h"] + (["internal/pycore_frame.h"] if python.minor >= (3, 11) else [])
    if not all(any(pathlib.Path(f, n).is_file() for f in folders) for n in needed):
        pytest.skip("%s has not all of its headers here" % python.id)
    flags = ["-I" + f for f in folders]
    return flags + (["-idirafter", "%s/usr/include" % python.root] if python.root else [])


def line_of(text):
    return next(i for i, line in enumerate(CODE.splitlines(), 1) if text in line)


@pytest.mark.parametrize("python", SUPPORTED, ids=pythons.id_of)
def test_frames_of_compiled_functions_are_shown(python, podspy, tmp_path):
    if python.free_threaded:
        pytest.skip("pushes.c does not know how %s counts references" % python.id)
    module = tmp_path / "pushes.so"
    subprocess.run(["cc", "-w", "-shared", "-fPIC", *include_flags(python), HERE / "pushes.c", "-o", module], check=True)
    folder = os.path.dirname(python.place(module))
    want = [("leaf", 70001), ("deepest", line_of('"leaf"')), ("inner", 22), ("below.<locals>.twice", line_of('"inner"')),
            ("generator", line_of("yield")), ("below", line_of("list(")), ("again", 3), ("outer", 11),
            ("<module>", line_of('"outer"'))]
    want = [[python.name_of(n), line] for n, line in want]
    with targets.running(python.argv_code(CODE, folder)) as t:
        targets.wait_for(lambda: targets.state_of(t.pid) == "S")
        for flags in MODES:
            r = targets.run([podspy, "dump", "-j", "-p", str(t.pid), *flags])
            thread, = json.loads(r.stdout)
            assert thread["error"] is None
            assert [[f["name"], f["line"]] for f in thread["frames"]] == want
            assert all((f["filename"] == "compiled.py") == (not f["column"]) for f in thread["frames"]
                       if python.minor >= (3, 11))
        r = targets.run([podspy, "record", "-i", "-d", "1", "-f", "raw", "-o", "-", "-p", str(t.pid)])
        assert b";outer (compiled.py:11);again (compiled.py:3);" in r.stdout and b";leaf (compiled.py:70001) " in r.stdout


# --- the compiler itself, where an interpreter has it ---

NUITKA = [p for p in os.environ.get("PODSPY_NUITKA", "").split(":") if p]
SHOP = """
import json, sys, threading, time

def leaf(n):
    x = n + 1
    time.sleep(600)
    return x

class Shop:
    def serve(self):
        y = [i for i in range(3)]
        return leaf(sum(y))

def numbers(shop):
    yield 1
    z = shop.serve()
    yield z

def through_generator():
    for x in numbers(Shop()):
        pass

async def coroutine():
    through_generator()

def run_coroutine():
    try:
        coroutine().send(None)
    except StopIteration:
        pass

def through_exec():
    scope = {"f": run_coroutine}
    exec("def interpreted():\\n    f()\\n", scope)
    scope["interpreted"]()

def deep(n):
    if n:
        return deep(n - 1)
    return through_exec()

def tell(ident):
    time.sleep(1)
    frame, out = sys._current_frames()[ident], []
    while frame:
        out.append([frame.f_code.co_name, frame.f_lineno])
        frame = frame.f_back
    sys.stdout.write(json.dumps(out) + "\\n")
    sys.stdout.flush()

threading.Thread(target=tell, args=(threading.current_thread().ident,), daemon=True).start()
deep(20)
"""


@pytest.mark.parametrize("python", NUITKA or [None])
def test_a_program_compiled_by_nuitka_is_read(python, podspy, tmp_path):
    """$PODSPY_NUITKA names interpreters, with colons between, that have it: pip install nuitka."""
    if not python or not shutil.which("cc"):
        pytest.skip("no interpreter with nuitka is given in $PODSPY_NUITKA")
    (tmp_path / "shop.py").write_text(SHOP)
    subprocess.run([python, "-m", "nuitka", "--quiet", "--assume-yes-for-downloads", "shop.py"], cwd=tmp_path, check=True)
    libdir = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"], text=True).strip()
    with targets.running([tmp_path / "shop.bin"], env=dict(os.environ, LD_LIBRARY_PATH=libdir)) as t:
        for flags in MODES:
            r = targets.run([podspy, "dump", "-j", "-p", str(t.pid), *flags])
            thread = next(e for e in json.loads(r.stdout) if e["os_thread_id"] == t.pid)
            assert [[f["name"].rpartition(".")[2], f["line"]] for f in thread["frames"]] == t.said
            assert len(t.said) == 30
