"""The table of offsets and the line tables, held against every interpreter of this machine."""

import json
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))
import pythons  # noqa: E402

SUPPORTED = pythons.supported()
each = pytest.mark.parametrize("python", SUPPORTED, ids=lambda p: p.id)


def rows(text):
    return {name: int(value) for name, value in (line.split() for line in text.splitlines())}


def include_folders(python):
    code = (
        "import sysconfig, json; print(json.dumps([sysconfig.get_path('include'),"
        " sysconfig.get_path('platinclude')]))"
    )
    return json.loads(subprocess.check_output([python.path, "-c", code]))


def test_some_interpreter_is_covered():
    print("covered:", ", ".join(p.id for p in SUPPORTED))
    assert SUPPORTED


@each
def test_table_equals_the_headers(python, program, tmp_path):
    folders = include_folders(python)
    if not any((pathlib.Path(f) / "internal" / "pycore_frame.h").is_file() for f in folders):
        pytest.skip("%s has no internal headers here" % python.id)
    subprocess.run(
        ["cc", "-w", *("-I" + f for f in folders), HERE / "offsets.c", "-o", tmp_path / "offsets"],
        check=True,
    )
    headers = rows(subprocess.check_output([tmp_path / "offsets"], text=True))
    major, minor = map(str, python.minor)
    table = rows(subprocess.check_output([program("python_probe"), "layout", major, minor], text=True))
    assert {k: table[k] for k in headers} == headers
    assert set(table) - set(headers) <= {"ts_size", "ts_base", "owner_entry", "interp_code_generation", "co_units", "co_head"}
    last = max(headers[k] for k in headers if k.startswith("ts_") and headers[k] != 0xFFFF)
    assert table["ts_size"] == last + 8


@each
def test_published_offsets_give_the_same_row(python, program):
    if python.minor < (3, 13):
        pytest.skip("%s publishes no offsets" % python.id)
    code = (
        "import ctypes, sys; sys.stdout.buffer.write("
        "(ctypes.c_char * 888).in_dll(ctypes.pythonapi, '_PyRuntime').raw)"
    )
    raw = subprocess.check_output([python.path, "-c", code])
    major, minor = map(str, python.minor)
    probe = program("python_probe")
    applied = subprocess.run([probe, "apply", major, minor], input=raw, stdout=subprocess.PIPE, check=True)
    table = subprocess.check_output([probe, "layout", major, minor], text=True)
    assert rows(applied.stdout.decode()) == rows(table)


@each
def test_absurd_published_offsets_are_refused(python, program):
    if python.minor < (3, 13):
        pytest.skip("%s publishes no offsets" % python.id)
    raw = b"xdebugpy" + b"\xff" * 880
    major, minor = map(str, python.minor)
    r = subprocess.run([program("python_probe"), "apply", major, minor], input=raw, stdout=subprocess.PIPE)
    assert r.returncode == 4


@each
def test_every_line_of_the_standard_library(python, program):
    writer = subprocess.Popen([python.path, HERE / "stdlib_lines.py"], stdout=subprocess.PIPE)
    r = subprocess.run([program("python_probe"), "lines", *map(str, python.minor)], stdin=writer.stdout, stdout=subprocess.PIPE)
    writer.stdout.close()
    assert writer.wait() == 0
    codes, units, wrong = map(int, r.stdout.split())
    print("%s: %d code objects, %d instructions, %d wrong" % (python.id, codes, units, wrong))
    assert wrong == 0 and r.returncode == 0
    assert codes > 10000 and units > 1000000
