"""The page of `make demo`, from a cold start: three clicks lead to the line that takes the time."""

import contextlib
import fcntl
import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import termios
import time

import pytest

REPO = pathlib.Path(__file__).resolve().parents[3]
sys.path += [str(REPO / "tests" / "contract"), str(REPO / "tests" / "contract" / "web")]

pytest.importorskip("selenium", reason="install python3-selenium")
import browsing  # noqa: E402
from page import Page  # noqa: E402

DEMO = REPO / "deploy" / "docker" / "demo.sh"
SHOP = REPO / "deploy" / "docker" / "demo" / "shop.py"


@contextlib.contextmanager
def demo_on_a_terminal(environment):
    """What the demo printed until it stays."""
    ours, terminal = pty.openpty()
    said = b""
    with subprocess.Popen([DEMO], env=environment, stdin=terminal, stdout=terminal, stderr=terminal,
                          start_new_session=True,
                          preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)) as demo:
        os.close(terminal)
        end = time.monotonic() + 90
        while b"until Ctrl-C" not in said and time.monotonic() < end and demo.poll() is None:
            if select.select([ours], [], [], 1)[0]:
                said += os.read(ours, 4096)
        try:
            yield said.decode()
        finally:
            os.write(ours, b"\x03")
            demo.wait(30)
    os.close(ours)


def hot_lines():
    """The numbers of the lines of edit_distance."""
    lines = SHOP.read_text().splitlines()
    first = next(i for i, line in enumerate(lines, 1) if line.startswith("def edit_distance"))
    last = next(i for i, line in enumerate(lines[first:], first + 1) if line and not line.startswith(" "))
    return range(first, last)


def test_three_clicks_lead_to_the_hot_line(build_dir, tmp_path):
    if not (build_dir / "collector" / "web" / "made" / "assets.inc").is_file():
        pytest.skip("built with -DPODSPY_WEB=OFF")
    environment = dict(os.environ, PODSPY_BUILD=str(build_dir), PODSPY_DEMO_DIR=str(tmp_path / "podspy-demo-out"))
    shots = build_dir / "web-screenshots"
    shots.mkdir(exist_ok=True)
    with demo_on_a_terminal(environment) as said, browsing.chromium(tmp_path / "chromium") as driver:
        address = re.search(r"The page: +(http://127\.0\.0\.1:\d+)/", said)
        assert address, said
        page = Page(driver, address[1])
        page.open()
        driver.get_screenshot_as_file(str(shots / "demo-pods.png"))
        page.click("main a", "demo")  # 1: the pod
        driver.get_screenshot_as_file(str(shots / "demo-profile.png"))
        page.click(".functions button", "edit_distance")  # 2: the function
        driver.get_screenshot_as_file(str(shots / "demo-function.png"))
        assert int(page.text(".sandwich .hottest th")) in hot_lines()
        page.click("button", "Copy place")  # 3: the line, for an editor
        page.assert_quiet()
