"""A program that has CPython inside and says nothing of it: stripped, nothing exported."""

import json
import pathlib
import shutil
import subprocess
import sysconfig
import time

import pytest

import machine
import targets

SOURCE = r"""
#include <Python.h>
int main(int argc, char **argv) { return Py_BytesMain(argc, argv); }
"""
SCRIPT = """
import threading, time

def nap():
    started.set()
    time.sleep(600)

def outer():
    nap()

started = threading.Event()
t = threading.Thread(target=outer, daemon=True)
t.start()
started.wait()
print("ready", flush=True)
%s
"""
VERSION = sysconfig.get_config_var("VERSION")
LIBRARIES = {"pie": "libpython%s-pic.a" % VERSION, "no-pie": "libpython%s.a" % VERSION}


@pytest.fixture(scope="module", params=["pie", "no-pie", "exported"])
def service(request, tmp_path_factory):
    kind = "no-pie" if request.param == "exported" else request.param
    library = pathlib.Path(sysconfig.get_config_var("LIBPL") or "/", LIBRARIES[kind])
    include = pathlib.Path(sysconfig.get_path("include"))
    if not library.is_file() or not (include / "Python.h").is_file() or not shutil.which("gcc"):
        pytest.skip("%s is not here (Debian: libpython%s-dev)" % (library, VERSION))
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "embed.c").write_text(SOURCE)
    out = folder / "service"
    subprocess.run(["gcc", "-" + kind, *(["-fPIE"] if kind == "pie" else []), "-I%s" % include, "-o", out,
                    folder / "embed.c", library, "-lexpat", "-lz", "-lm", "-ldl",
                    *(["-rdynamic"] if request.param == "exported" else [])], check=True)
    subprocess.run(["strip", "--strip-all", out], check=True)
    names = subprocess.run(["nm", "-D", "--defined-only", out], capture_output=True, text=True).stdout
    assert ("_PyRuntime" in names) == (request.param == "exported")
    return out


@pytest.mark.parametrize("end", ["time.sleep(600)", "while True: pass"], ids=["idle", "busy"])
def test_an_interpreter_without_symbols_is_found(podspy, service, tmp_path, end):
    script = tmp_path / "s.py"
    script.write_text(SCRIPT % end)
    with targets.running([service, script]) as t:
        time.sleep(0.5)  # from the print into the sleep
        r = targets.run([podspy, "dump", "-j", "-p", str(t.pid)])
        assert r.returncode == 0, r.stderr
        threads = {e["os_thread_id"]: e for e in json.loads(r.stdout.decode())}
        assert len(threads) == 2
        assert [f["name"] for f in threads[t.pid]["frames"]] == ["<module>"]
        assert threads[t.pid]["owns_gil"] is ("while" in end)
        other, = (e for tid, e in threads.items() if tid != t.pid)
        assert [(f["name"].split(".")[-1], f["line"]) for f in other["frames"]][:2] == [("nap", 6), ("outer", 9)]
        text = targets.run([podspy, "dump", "-p", str(t.pid)]).stdout.decode()
        assert "Python v%s." % VERSION in text and "(%s)" % service in text


def test_a_program_without_python_is_refused_quickly(podspy, tmp_path):
    """A program with much data that looks like pointers to itself."""
    source = tmp_path / "data.c"
    source.write_text("#include <stdio.h>\n#include <unistd.h>\n"
                      "static void *p[4 << 20] = {(void *)1}; static char v[] = \"3.11.2 (main) [GCC 12]\";\n"
                      "int main(void) { for (int i = 0; i < 4 << 20; i++) p[i] = p; puts(v); fflush(stdout); sleep(600); }\n")
    if not shutil.which("gcc"):
        pytest.skip("gcc is not here")
    subprocess.run(["gcc", "-o", tmp_path / "data", source], check=True)
    with targets.running([tmp_path / "data"]) as t:
        def seconds():
            start = time.monotonic()
            r = targets.run([podspy, "dump", "-p", str(t.pid)])
            assert r.returncode == 1 and b"there is no Python in process" in r.stderr
            return time.monotonic() - start

        machine.measured("seconds", seconds, lambda s: s < 5)
