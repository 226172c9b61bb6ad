"""The table of offsets and the line tables, held against every interpreter of this machine."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))
import pythons  # noqa: E402

# The tables are the same under a sanitizer: there a few interpreters and a part of their libraries are enough.
SANITIZED = bool(os.environ.get("PODSPY_SANITIZE"))
LONG = bool(os.environ.get("PODSPY_LONG"))  # with Python's own tests
SUPPORTED = pythons.few() if SANITIZED else pythons.supported()
PUBLISHING = [p for p in SUPPORTED if p.minor >= (3, 13)]
# Not an offset that a header tells: sizes podspy chooses, and what stands for "not in the headers".
CHOSEN = {"ts_size", "co_head", "co_units", "owner_entry", "owner_generator", "executing", "f_tlbc",
          "co_tlbc", "ts_native_id", "ts_chunk", "ts_cframe", "ts_base", "interp_gil", "f_size",
          "interp_code_generation", "f_owner", "co_firsttraceable", "interp_next_version"}
each = pytest.mark.parametrize("python", SUPPORTED, ids=pythons.id_of)
each_publishing = pytest.mark.parametrize("python", PUBLISHING, ids=pythons.id_of)


def rows(text):
    return {name: int(value) for name, value in (line.split() for line in text.splitlines())}


def include_flags(python):
    """What the compiler needs to find the interpreter's own headers, or None: they are not here."""
    code = (
        "import sysconfig, json; print(json.dumps([sysconfig.get_path('include'),"
        " sysconfig.get_path('platinclude')]))"
    )
    folders = json.loads(subprocess.check_output(python.argv_code(code)))
    flags = ["-I%s%s" % (python.root or "", f) for f in folders]
    if python.root:  # Debian's pyconfig.h includes one that is named from there
        flags += ["-idirafter", "%s/usr/include" % python.root]
    needed = "Python.h" if python.minor < (3, 7) else "internal/%s" % (
        "pystate.h" if python.minor < (3, 8) else "pycore_pystate.h")
    return flags if any((pathlib.Path(f[2:]) / needed).is_file() for f in flags[:2]) else None


def compiled(python, folder, *flags):
    found = include_flags(python)
    if not found:
        pytest.skip("%s has not all of its headers here" % python.id)
    source = HERE / ("offsets.c" if python.minor >= (3, 11) else "offsets_heap.c")
    subprocess.run(["cc", "-w", *found, *flags, source, "-o", folder / "offsets"], check=True)
    return folder / "offsets"


def table_of(python, program, traced=False):
    argv = [program("python_probe"), "traced" if traced else "layout", *map(str, python.minor)]
    return rows(subprocess.check_output(argv, text=True))


def applied_to(python, program, raw):
    argv = [program("python_probe"), "apply", *map(str, python.minor)]
    r = subprocess.run(argv, input=raw, stdout=subprocess.PIPE)
    return r.returncode, rows(r.stdout.decode())


def published_by(python):
    code = (
        "import ctypes, sys; sys.stdout.buffer.write("
        "(ctypes.c_char * 888).in_dll(ctypes.pythonapi, '_PyRuntime').raw)"
    )
    r = subprocess.run(python.argv_code(code), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if r.returncode:
        pytest.skip("%s has no ctypes" % python.id)
    return r.stdout


def test_some_interpreter_is_covered():
    print("covered:", ", ".join(p.id for p in SUPPORTED))
    assert any(p.path == "/usr/bin/python3" and not p.root for p in SUPPORTED)


@each
def test_table_equals_the_headers(python, program, tmp_path):
    headers = rows(subprocess.check_output([compiled(python, tmp_path)], text=True))
    table = table_of(python, program, python.debug and python.minor <= (3, 7))
    if python.free_threaded:  # its objects are longer: it is the row that it makes of what it publishes
        code, table = applied_to(python, program, published_by(python))
        assert code == 0
    without_gil = {"gil_holder", "gil_locked", "gil_size", "interp_gil"} if python.free_threaded else set()
    print("%s: %d offsets" % (python.id, len(headers)))
    assert len(headers) > 25
    assert {k: v for k, v in headers.items() if table.get(k) != v and k not in without_gil} == {}
    assert {k for k in table if k not in headers and table[k] != 0xFFFF} <= CHOSEN | {
        k for k in table if k.startswith(("gil_", "chunk_", "str_"))}
    last = max(headers[k] for k in headers if k.startswith("ts_") and k != "ts_base" and headers[k] != 0xFFFF)
    assert table["ts_size"] == last + 8


@pytest.mark.parametrize("python", [p for p in SUPPORTED if p.minor <= (3, 10)], ids=pythons.id_of)
def test_rows_of_debug_builds_from_the_headers(python, program, tmp_path):
    """Up to 3.7 a debug build has longer objects; later, what is built with Py_TRACE_REFS."""
    offsets = compiled(python, tmp_path, "-DPy_DEBUG=1", "-DPy_TRACE_REFS=1")
    headers = rows(subprocess.check_output([offsets], text=True))
    table = table_of(python, program, traced=True)
    assert headers["ob_type"] == 24
    assert {k: v for k, v in headers.items() if table.get(k) != v} == {}


@pytest.mark.parametrize("python", [p for p in PUBLISHING if p.minor >= (3, 14)], ids=pythons.id_of)
def test_free_threaded_rows_from_the_headers(python, program, tmp_path):
    """A free-threaded 3.14 or 3.15 is not packaged; what it publishes follows from its headers."""
    offsets = compiled(python, tmp_path, "-DPy_GIL_DISABLED=1")
    headers = rows(subprocess.check_output([offsets], text=True))
    code, table = applied_to(python, program, subprocess.check_output([offsets, "published"]).ljust(888, b"\0"))
    assert code == 0
    different = {k: (v, table.get(k)) for k, v in headers.items() if table.get(k) != v}
    assert set(different) <= {"gil_holder", "gil_locked", "gil_size", "interp_gil"}, different
    assert headers["f_tlbc"] != 0xFFFF and headers["co_tlbc"] != 0xFFFF


@each_publishing
def test_published_offsets_give_the_same_row(python, program):
    code, applied = applied_to(python, program, published_by(python))
    assert code == 0
    if not python.free_threaded:
        assert applied == table_of(python, program)


@each_publishing
def test_absurd_published_offsets_are_refused(python, program):
    assert applied_to(python, program, b"xdebugpy" + b"\xff" * 880)[0] == 4


@each
def test_every_line_and_column_of_the_standard_library(python, program):
    part = ["modules"] if SANITIZED else [] if LONG else ["library"]
    least = 4000 if SANITIZED else 8000
    writer = subprocess.Popen(python.argv(HERE / "stdlib_lines.py", *part), stdout=subprocess.PIPE)
    r = subprocess.run([program("python_probe"), "lines", *map(str, python.minor)], stdin=writer.stdout, stdout=subprocess.PIPE)
    writer.stdout.close()
    assert writer.wait() == 0
    codes, units, wrong, wrong_locations = map(int, r.stdout.split())
    columns = "%d wrong columns or ends" % wrong_locations if python.minor >= (3, 11) else "no columns"
    print("%s: %d code objects, %d instructions, %d wrong lines, %s" % (python.id, codes, units, wrong, columns))
    assert (wrong, wrong_locations, r.returncode) == (0, 0, 0)
    assert codes > least and units > 85 * least
