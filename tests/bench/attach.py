#!/usr/bin/python3
"""Milliseconds to attach to a Python process, beside what they may be, for each interpreter found.

To attach is to find the interpreter in a process and to list its threads, from nothing, as an agent
does once for each process. Besides the interpreters of tests/pythons.py: Debian's with its program
deleted, Debian's with many extension modules, uWSGI, and a stripped program that has CPython inside
and exports nothing, whose data must be searched. What is not here is left out. On a machine
with other work the worst time is mostly that of waiting for a CPU; the exit status is of the medians.
"""

import argparse
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import pythons  # noqa: E402

LIMIT_MS = 10.0
DEBIAN = "/usr/bin/python3"
TARGET = """\
import sys, threading, time
for name in sys.argv[1:]:
    try: __import__(name)
    except ImportError: pass
def nap(): time.sleep(36000)
thread = threading.Thread(target=nap)
thread.daemon = True
thread.start()
sys.stdout.write("ready\\n"); sys.stdout.flush()
nap()
"""
MODULES = ("_ssl _sqlite3 _decimal _ctypes _curses _lzma _bz2 _asyncio _json _hashlib _elementtree _multiprocessing "
           "_posixshmem _zoneinfo _uuid _queue mmap readline resource termios audioop ossaudiodev").split()
EMBED = """\
#include <Python.h>
int main(int argc, char **argv) { return Py_BytesMain(argc, argv); }
"""
UWSGI_APP = """\
def application(environ, start_response):
    start_response("200 OK", [])
    return [b""]
print("ready", flush=True)
"""


def stripped(folder):
    """A program with the CPython that runs this inside, which names none of its symbols, or None."""
    name = "libpython%s.a" % sysconfig.get_config_var("VERSION")
    library = pathlib.Path(sysconfig.get_config_var("LIBPL") or "/", name)
    include = pathlib.Path(sysconfig.get_path("include"))
    if not library.is_file() or not (include / "Python.h").is_file() or not shutil.which("gcc"):
        return None
    (folder / "embed.c").write_text(EMBED)
    subprocess.run(["gcc", "-no-pie", "-s", f"-I{include}", "-o", folder / "service", folder / "embed.c", library,
                    "-lexpat", "-lz", "-lm", "-ldl"], check=True)
    return folder / "service"


def cases(folder):
    """(name, command line, the file to delete once it runs)"""
    for python in pythons.supported():
        yield python.id, python.argv_code(TARGET), None
    if os.path.exists(DEBIAN):
        yield "debian, many modules", [DEBIAN, "-c", TARGET, *MODULES], None
        copy = shutil.copy(DEBIAN, folder / "python3")
        yield "debian, deleted", [copy, "-c", TARGET], copy
    if shutil.which("uwsgi"):
        (folder / "app.py").write_text(UWSGI_APP)
        yield "uwsgi", ["uwsgi", "--plugin", "python3", "--http-socket", "127.0.0.1:0", "--enable-threads",
                        "--wsgi-file", folder / "app.py"], None
    service = stripped(folder)
    if service:
        yield "stripped, nothing exported", [service, "-c", TARGET], None


@contextlib.contextmanager
def running(command, delete):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        said = b""
        while b"ready\n" not in said:
            line = process.stdout.readline()
            if not line:
                raise SystemExit("the target did not start: %s" % said.decode(errors="replace")[-1000:])
            said += line
        if delete:
            os.unlink(delete)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build folder")
    parser.add_argument("--times", type=int, default=200)
    options = parser.parse_args()
    over = False
    with tempfile.TemporaryDirectory() as name:
        print(f"milliseconds to attach, {options.times} times each, load {os.getloadavg()[0]:.1f}; "
              f"limit {LIMIT_MS:g} ms")
        print("| | version | median | worst | over the limit | median of the limit |\n|-|-|-|-|-|-|")
        for case, command, delete in cases(pathlib.Path(name)):
            with running(command, delete) as pid:
                bench = [options.build / "bin" / "bench_attach", str(pid), str(options.times), str(LIMIT_MS)]
                version, median, worst, late = subprocess.check_output(bench, text=True).split()
            over = over or float(median) > LIMIT_MS
            print(f"| {case} | {version} | {median} | {worst} | {late} | "
                  f"{100 * float(median) / LIMIT_MS:.0f} % |", flush=True)
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
