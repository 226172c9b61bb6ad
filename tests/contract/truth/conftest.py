"""The stress target, and what the samples of each interpreter came to, printed when all tests are done."""

import os
import pathlib
import sys

import pytest

import targets

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import check  # noqa: E402
import shares  # noqa: E402

LONG = bool(os.environ.get("PODSPY_LONG"))
LINES, YIELDS, PEERS, TOTALS, VERDICTS = [], [], [], {}, {}


@pytest.fixture(scope="session")
def target_core():
    """For what starts the target: in the long run it has a core that it does not share with the samplers,
    which are children of this process."""
    cores = sorted(os.sched_getaffinity(0))
    if not LONG or len(cores) < 2:
        yield None
        return
    os.sched_setaffinity(0, cores[:1])
    yield lambda: os.sched_setaffinity(0, cores[-1:])
    os.sched_setaffinity(0, cores)


@pytest.fixture
def stress(tmp_path, target_core):
    """stress(python, argv): a running stress target; argv(script, seconds) starts it, else the interpreter
    does."""
    def start(python, argv=None):
        script = tmp_path / "stress.py"
        script.write_text(check.text_for(python.minor))
        return targets.running((argv or python.argv)(script, "3000"), preexec_fn=target_core)

    return start


@pytest.fixture(scope="session")
def outcome():
    """outcome(python, mode, taken, different): a line of the report; without different no shares in it."""
    def add(python, mode, taken, different=None):
        text = "  %-16s %-14s %s, %d impossible" % (python.id, mode, taken, taken.impossible())
        if different:
            off, scatter, name = shares.furthest(different)
            text += "; furthest share off by %.2f points +- %.2f (%s)" % (off, scatter, name)
            VERDICTS.setdefault(mode, {}).setdefault(shares.verdict(different), []).append((off, scatter, python.id))
        LINES.append(text)
        total = TOTALS.setdefault(mode, [0, 0])
        total[0] += taken.samples()
        total[1] += taken.impossible()

    return add


@pytest.fixture(scope="session")
def yields():
    """yields(line): what --nonblocking gave of one interpreter."""
    return YIELDS.append


@pytest.fixture(scope="session")
def peer_outcome():
    """peer_outcome(row): a row of the table of peers."""
    return PEERS.append


def verdict_line(mode, found):
    counts = {word: len(found.get(word, ())) for word in ("within", "beyond", "undecided")}
    off, scatter, where = max(sum(found.values(), []))
    widest = max(scatter for _, scatter, _ in sum(found.values(), []))
    return ("  %s against the paused truth: %d of %d interpreters have every share within %d point, %d have one "
            "beyond, %d undecided (two standard errors); furthest off %.2f +- %.2f (%s), widest scatter %.2f"
            % (mode, counts["within"], sum(counts.values()), shares.POINTS, counts["beyond"],
               counts["undecided"], off, scatter, where, widest))


def pytest_terminal_summary(terminalreporter):
    for line in LINES:
        terminalreporter.write_line(line)
    for mode, (samples, wrong) in TOTALS.items():
        terminalreporter.write_line("  all, %s: %d impossible stacks in %d samples" % (mode, wrong, samples))
    for mode, found in VERDICTS.items():
        terminalreporter.write_line(verdict_line(mode, found))
    for line in YIELDS and ["--nonblocking on a program of short calls:"] + YIELDS:
        terminalreporter.write_line(line)
    for row in PEERS and HEAD + PEERS:
        terminalreporter.write_line(row)


HEAD = ["", "| target | sampler | samples | impossible % | cut off % | empty % | own errors % | trampolines % | bias |",
        "|-|-|-|-|-|-|-|-|-|"]
