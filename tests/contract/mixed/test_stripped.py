"""-n of interpreters without symbols: merged while the loop has its name in .dynsym; without it, Python frames alone."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

import machine
import pythons
import targets

WORKLOAD = pathlib.Path(__file__).with_name("workload.py")
OLD = [p for p in pythons.few() if p.id.startswith("built") and p.minor <= (3, 10)]
FILE = r"import os, re; print(re.search(r'\S*/libpython[\d.m]+so[\d.]*$', open('/proc/self/maps').read(), re.M).group())"


def stripped(python, folder):
    """A copy of the interpreter's library as Debian has it, which takes the place of the original when it is preloaded."""
    said = subprocess.run(python.argv_code(FILE), capture_output=True, text=True, timeout=60)
    if said.returncode:
        pytest.skip("%s has its interpreter in the program" % python.id)
    original = pathlib.Path(said.stdout.strip())
    copy = folder / original.name
    subprocess.run(["strip", "--strip-all", "-o", copy, original], check=True, timeout=60)
    return copy


def hide(library, name):
    """Renames that dynamic symbol. The hash by which the linker finds it (h * 33 + c) stays the same."""
    old = b"\0" + name + b"\0"
    new = b"\0" + name[:-2] + bytes([name[-2] + 1, name[-1] - 33]) + b"\0"
    data = library.read_bytes()
    assert data.find(old) >= 0
    library.write_bytes(data.replace(old, new, 1))  # .dynstr is before what else may have the text


def record(podspy, pid):
    done = targets.run([podspy, "record", "-n", "-p", str(pid), "-d", "1", "-r", "200", "-f", "raw", "-o", "-"])
    assert done.returncode == 0, done.stderr
    said = done.stderr.decode()
    failed, of = map(int, re.search(r"^Native frames: (\d+) of (\d+) samples", said, re.M).groups())
    stacks = [line.rpartition(" ")[0].split(";") for line in done.stdout.decode().splitlines()]
    return stacks, failed, of, said


def running(python, library):
    return targets.running(python.argv(WORKLOAD), env=dict(os.environ, LD_PRELOAD=str(library)))


@pytest.fixture(autouse=True)
def needs_strip():
    shutil.which("strip") or pytest.skip("no strip here")


@pytest.mark.parametrize("python", OLD, ids=pythons.id_of)
def test_an_exported_loop_is_enough(podspy, python, tmp_path):
    library = stripped(python, tmp_path)
    with running(python, library) as t:
        assert str(library) in pathlib.Path("/proc/%d/maps" % t.pid).read_text()
        machine.measured("samples, not merged", lambda: record(podspy, t.pid)[2:0:-1],
                         lambda seen: seen[0] >= 20 and seen[1] <= max(1, seen[0] / 100))


@pytest.mark.parametrize("python", OLD, ids=pythons.id_of)
def test_without_the_name_of_the_loop_there_are_python_frames(podspy, python, tmp_path):
    library = stripped(python, tmp_path)
    hide(library, b"PyEval_EvalFrameEx" if python.minor == (2, 7) else b"_PyEval_EvalFrameDefault")
    with running(python, library) as t:
        assert str(library) in pathlib.Path("/proc/%d/maps" % t.pid).read_text()
        # A busy machine may give the program no CPU for a second.
        stacks, failed, of, said = targets.wait_for(lambda: (r := record(podspy, t.pid))[2] and r)
        dumped = targets.run([podspy, "dump", "-n", "-p", str(t.pid)])
    assert failed == of, said
    assert re.search(r"^\d+ of them because no C function of the stack has the name of the interpreter's loop", said, re.M)
    assert stacks and all(re.search(r"\.py:\d+\)$", f) or f == "[changing]" for s in stacks for f in s), stacks
    assert {s[0].partition(" ")[0] for s in stacks} == {"<module>"}, stacks
    assert dumped.returncode == 0 and b"native frames of 1 of 1 threads could not be merged" in dumped.stderr, dumped
    assert re.search(rb"^    <module> \(workload.py:\d+\)$", dumped.stdout, re.M), dumped
