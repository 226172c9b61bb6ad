"""What every pytest test here shares: where the build is and what it made.

The build folder comes from PODSPY_BUILD; without it, build/dev of this repository.
"""

import os
import pathlib
import re

import pytest

REPO = pathlib.Path(__file__).resolve().parent.parent


def _program(build, name):
    path = build / "bin" / name
    if not path.is_file():
        pytest.fail(f"{path} is missing: build it, or set PODSPY_BUILD to the build folder")
    return path


def pytest_terminal_summary(terminalreporter):
    """Each test that was skipped, by its name, with the reason, and each that measured more than once (tests/machine.py):
    tests/closing.py reads them."""
    for report in terminalreporter.stats.get("passed", []):
        for line in re.findall(r"^measured (\((?!1 ).*)$", report.capstdout, re.M):
            terminalreporter.write_line(f"measured again: {report.nodeid.rpartition('::')[2]} {line}")
    for report in terminalreporter.stats.get("skipped", []):
        why = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        terminalreporter.write_line(f"skipped: {report.nodeid}: {' '.join(why.removeprefix('Skipped: ').split())}")


@pytest.fixture(scope="session")
def repo_dir():
    """The root of the repository."""
    return REPO


@pytest.fixture(scope="session")
def build_dir():
    """The build folder whose programs are tested."""
    path = pathlib.Path(os.environ.get("PODSPY_BUILD") or REPO / "build" / "dev").resolve()
    if not path.is_dir():
        pytest.fail(f"{path} is not a folder: run `cmake --preset dev`, or set PODSPY_BUILD")
    return path


@pytest.fixture(scope="session")
def bin_dir(build_dir):
    """Where the build puts its programs."""
    return build_dir / "bin"


@pytest.fixture(scope="session")
def program(build_dir):
    """program(name) is the path of one program the build made; fails the test where it is missing."""
    return lambda name: _program(build_dir, name)


@pytest.fixture(scope="session")
def podspy(program):
    """The node side's program."""
    return program("podspy")


@pytest.fixture(scope="session")
def podspy_collector(program):
    """The collector's program."""
    return program("podspy-collector")
