"""`podspy top` on a terminal, driven by keys: the screen, sorting, help, filter, resizing, the end."""

import os
import pathlib
import re
import shutil
import signal
import sys

import pytest
from targets import running, state_of, wait_for

from tmux import rows_of, terminal

SHARES = pathlib.Path(__file__).with_name("shares.py")

pytestmark = pytest.mark.skipif(not shutil.which("tmux"),
                                reason="tmux is not installed: cmake/setup.sh test installs it")


@pytest.fixture(scope="module")
def busy():
    with running([sys.executable, SHARES.name], cwd=SHARES.parent) as target:
        yield target


def check_layout(lines, width, height):
    assert len(lines) == height and max(map(len, lines)) <= width
    assert lines[0].endswith("Python %d.%d.%d" % sys.version_info[:3]) and "shares.py" in lines[0]
    title = next(line for line in lines if "%Total" in line)
    assert lines.index(title) == 5 and title.split("  ")[-1].startswith("Function (filename")
    rows = rows_of(lines)
    place = title.index("Function")
    assert rows and all(line[place - 2:place] == "  " and line[place] != " " for line in lines[6:6 + len(rows)])
    return rows


@pytest.mark.parametrize("width,height", [(80, 24), (200, 50)])
def test_the_screen_has_what_matters_first(podspy, busy, tmp_path, width, height):
    # --idle: a busy machine changes how much the threads run, not where they are.
    with terminal(tmp_path, width, height, [podspy, "top", "-i", "-p", busy.pid, "--delay", "0.5"]) as t:
        lines = t.wait(r" [1-9]\d*\.\d\ds  three ")
        rows = check_layout(lines, width, height)
        asleep = next(r for r in rows if re.fullmatch(r"sleep \(.*shares.py:\d+\)", r[4]))
        assert 90 <= asleep[0] <= 110 and asleep[0] == asleep[1]
        assert [r[2] for r in rows] == sorted((r[2] for r in rows), reverse=True)
        three = sum(r[3] for r in rows if r[4].startswith("three "))
        one = sum(r[3] for r in rows if r[4].startswith("one "))
        assert 0.6 < three / (three + one) < 0.9
        assert "Samples" in lines[1] and "Errors 0" in lines[1] and "Late" in lines[1]
        assert "GIL " in lines[2] and "Threads 3" in lines[2]
        assert "for the GIL: " in lines[3] and "worker" in lines[3]
        assert lines[-1].startswith("q quit")


def test_keys_choose_what_is_shown(podspy, busy, tmp_path):
    with terminal(tmp_path, 80, 24, [podspy, "top", "-p", busy.pid, "--delay", "0.3"]) as t:
        t.wait(r"s  spin ")
        t.keys("4")
        rows = rows_of(t.wait(r">TotalTime"))
        assert [r[3] for r in rows] == sorted((r[3] for r in rows), reverse=True)
        t.keys("l")
        rows = rows_of(t.wait(r"Function \(filename\)"))
        names = [r[4] for r in rows]
        assert len(names) == len(set(names)) and not any(":" in n for n in names)
        t.keys("?")
        t.wait(r"^Any key leaves")
        t.keys("x")
        t.wait(r">TotalTime")
        t.keys("/", "thr.e", "Enter")
        lines = t.wait(r"^\d+ of \d+ rows match")
        assert rows_of(lines) and all("thre" in r[4] for r in rows_of(lines))
        t.keys("/", "(", "Enter")
        t.wait(r"^missing closing parenthesis")
        t.keys("/", "Enter")
        t.wait(r"^q quit")
        # A busy machine has taken few samples yet: enough that the first screen after the reset has fewer.
        before = wait_for(lambda: max((r[3] for r in rows_of(t.lines())), default=0) > 2) and 2
        t.keys("r")
        wait_for(lambda: max((r[3] for r in rows_of(t.lines())), default=before) < before)
        t.call("resize-window", "-x", "120", "-y", "30")
        wait_for(lambda: t.lines()[-1].startswith("q quit") and len(t.lines()) == 30)
        check_layout(t.wait(r"s  spin "), 120, 30)


@pytest.mark.parametrize("how", ["q", "C-c", "SIGTERM", "the target's end"])
def test_the_terminal_and_the_target_are_left_as_they_were(podspy, tmp_path, how):
    with running([sys.executable, SHARES.name], cwd=SHARES.parent) as target, \
            terminal(tmp_path, 80, 24, [podspy, "top", "-p", target.pid, "--delay", "0.3"]) as t:
        t.wait(r"s  spin ")
        if how == "SIGTERM":
            pane = int(t.call("display", "-p", "#{pane_pid}"))
            child = wait_for(lambda: pathlib.Path(f"/proc/{pane}/task/{pane}/children").read_text().split())
            os.kill(int(child[0]), signal.SIGTERM)
        elif how == "the target's end":
            target.process.kill()
        else:
            t.keys(how)
        lines = t.wait(r"^the end")
        assert rows_of(lines), "the last screen is left behind"
        assert (tmp_path / "before").read_text() == (tmp_path / "after").read_text()
        assert t.call("display", "-p", "#{alternate_on} #{cursor_flag}").split() == ["0", "1"]
        assert (tmp_path / "status").read_text() == "0\n"
        errors = (tmp_path / "errors").read_text()
        if how == "the target's end":
            assert errors == f"process {target.pid} ended\n"
        else:
            assert errors == "" and state_of(target.pid) in "RS"


def test_hostile_names_do_not_disturb_the_screen(podspy, tmp_path):
    with running([sys.executable, SHARES.name, "hostile"], cwd=SHARES.parent) as target, \
            terminal(tmp_path, 80, 24, [podspy, "top", "-p", target.pid, "--delay", "0.3"]) as t:
        lines = t.wait(r"s  \\x1b\[31m\\nevil")
        assert len(rows_of(lines)) >= 4
        assert lines[0].endswith("Python %d.%d.%d" % sys.version_info[:3]) and lines[-1].startswith("q quit")
        title = next(line for line in lines if "%Total" in line)
        assert any("\u2026" in line for line in lines) and title.startswith("   %Own")
