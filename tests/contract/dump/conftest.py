"""Prints the table interpreter x case of the frames that were compared, when all tests are done."""

import pytest

TABLE = {}


@pytest.fixture(scope="session")
def matrix():
    """{interpreter: {case: [frames that differ, frames compared]}}."""
    return TABLE


def pytest_terminal_summary(terminalreporter):
    if not TABLE:
        return
    cases = list(dict.fromkeys(c for row in TABLE.values() for c in row))
    write = terminalreporter.write_line
    write("frames that differ from the target's own sys._current_frames() / frames compared:")
    write("  %-20s" % "" + "".join("%16s" % c for c in cases))
    for name, row in TABLE.items():
        write("  %-20s" % name + "".join("%16s" % ("%d/%d" % tuple(row[c]) if c in row else "-") for c in cases))
    total = [sum(cell[i] for row in TABLE.values() for cell in row.values()) for i in (0, 1)]
    write("  %d differences" % total[0])
