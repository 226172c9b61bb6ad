"""The last lines of `make test`: who was skipped, why, and how many tests there were."""

import os
import pathlib
import re
import subprocess
import sys

REPO = pathlib.Path(__file__).resolve().parents[2]

PYTEST = """
import machine
import pytest

def test_passes():
    pass

@pytest.mark.parametrize("n", [1, 2])
def test_skips(n):
    pytest.skip("the reason\\nhas two lines")

def test_measures():
    values = iter([1, 5])
    machine.measured("a share", lambda: next(values), lambda v: v > 3)
"""
CMOCKA = """\
[==========] Running 3 test(s).
[ RUN      ] one
measured again: a share (2 of 3)
[       OK ] one
[ RUN      ] two
left out: no such machine
[  SKIPPED ] two
[ RUN      ] three
[  SKIPPED ] three
[==========] 3 test(s) run.
[  PASSED  ] 1 test(s).
[  SKIPPED ] 2 test(s), listed below:
[  SKIPPED ] two
[  SKIPPED ] three

 2 SKIPPED TEST(S)
"""


def section(name, output, verdict):
    """As CTest writes it into LastTest.log."""
    line = "-" * 58
    return (f'3/9 Testing: {name}\n3/9 Test: {name}\nCommand: "x"\nDirectory: /x\n"{name}" start time: now\nOutput:\n'
            f'{line}\n{output}<end of output>\nTest time =   0.01 sec\n{line}\n{verdict}.\n"{name}" end time: now\n{line}\n\n')


def pytest_output(folder):
    """What pytest prints of a few tests below this repository's conftest.py."""
    path = folder / "test_here.py"
    path.write_text(PYTEST)
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--confcutdir={REPO}", "-c",
                           os.devnull, "-p", "conftest", path], capture_output=True, text=True, cwd=folder,
                          env={**os.environ, "PYTHONPATH": str(REPO / "tests")})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def closing(folder, *logs):
    builds = []
    for n, log in enumerate(logs):
        builds.append(folder / f"build{n}")
        where = builds[-1] / "Testing" / "Temporary"
        where.mkdir(parents=True)
        (where / "LastTest.log").write_text("Start testing: now\n" + log + "End testing: now\n")
    done = subprocess.run([sys.executable, REPO / "tests" / "closing.py", *builds], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_each_skipped_test_is_named_with_its_reason(tmp_path):
    first = (section("contract.here", pytest_output(tmp_path), "Test Passed") +
             section("unit.c", CMOCKA, "Test Passed") + section("e2e.script", "said something\n", "Test Passed"))
    lines = closing(tmp_path, first, section("unit.c", CMOCKA, "Test Passed"))
    assert [re.sub(r", load [\d.]+$", "", line) for line in lines] == [
        "skipped, in all builds, and why:",
        "  2: it does not say why",
        "      unit.c three (2 times)",
        "  2: no such machine",
        "      unit.c two (2 times)",
        "  2: the reason has two lines",
        "      contract.here test_skips (2 times)",
        "measured more than once, since other programs had the CPU:",
        "  build0 contract.here test_measures (2 of 3) a share: 5",
        "  build0 unit.c a share (2 of 3)",
        "  build1 unit.c a share (2 of 3)",
        "5 passed, 0 failed, 6 skipped",
    ]


def test_of_a_test_that_was_tried_twice_the_second_time_counts(tmp_path):
    failed = section("contract.here", "1 failed, 3 passed in 0.12s\n", "Test Failed")
    passed = section("contract.here", "4 passed in 1.02s\n", "Test Passed")
    assert closing(tmp_path, failed + passed) == ["4 passed, 0 failed, 0 skipped"]
    assert closing(tmp_path / "again", failed + section("x", "", "Test Failed")) == ["3 passed, 2 failed, 0 skipped"]
