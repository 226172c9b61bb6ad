"""record -n: no stack that the program cannot have, once its native frames are taken away."""

import os
import re

import pytest

import check
import pythons
import targets

PYTHONS = pythons.few() if os.environ.get("PODSPY_SANITIZE") else pythons.supported()


def is_native(frame):
    """Python's frames have a line, or a file that is source."""
    bare = None if check.FRAME.match(frame) else check.BARE.match(frame)
    return bool(bare) and not bare["file"].endswith(".py") and not bare["file"].startswith("<")


def without_native(line):
    stack, _, count = line.rpartition(" ")
    frames = [f for f in stack.split(";") if not is_native(f)]
    return "%s %s" % (";".join(frames) or "[no Python code]", count)


@pytest.mark.parametrize("python", PYTHONS, ids=pythons.id_of)
def test_merged_stacks_are_possible(podspy, python, stress, tmp_path):
    file = tmp_path / "stacks"
    with stress(python) as t:
        done = targets.run([podspy, "record", "-n", "-r", "1000", "-d", "1.5", "-f", "raw", "-o", file, "-p", str(t.pid)])
    assert done.returncode == 0, done.stderr
    lines = file.read_text().splitlines()
    found, total, _ = check.faults([without_native(line) for line in lines], python.minor >= (3, 11))
    print("%s: %d stacks, %d impossible, %s" % (python.id, total, len(found), re.search(rb"Native.*", done.stderr)[0].decode()))
    assert not found and total
    assert any(is_native(f) for line in lines for f in line.rpartition(" ")[0].split(";"))
