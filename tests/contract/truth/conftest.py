"""Prints what the samples of each interpreter came to, when all tests are done."""

import pytest

LINES, TOTALS = [], {}


@pytest.fixture(scope="session")
def outcome():
    """outcome(python, mode, taken, remark): a line of the report."""
    def add(python, mode, taken, remark):
        wrong = sum(count for count, _, _ in taken.faults)
        LINES.append("  %-16s %-14s %s, %d impossible%s" % (
            python.id, mode, taken, wrong, remark and "; " + remark))
        total = TOTALS.setdefault(mode, [0, 0])
        total[0] += taken.quality["samples"]
        total[1] += wrong

    return add


def pytest_terminal_summary(terminalreporter):
    for line in LINES:
        terminalreporter.write_line(line)
    for mode, (samples, wrong) in TOTALS.items():
        terminalreporter.write_line("  all, %s: %d impossible stacks in %d samples" % (mode, wrong, samples))
