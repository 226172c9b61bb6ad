"""The page of `make demo`, from a cold start: three clicks lead to the line that takes the time."""

import os
import pathlib
import re
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parents[3]
sys.path += [str(REPO / "tests" / "contract"), str(REPO / "tests" / "contract" / "web")]

pytest.importorskip("selenium", reason="install python3-selenium")
import browsing  # noqa: E402
import terminal  # noqa: E402
from page import Page  # noqa: E402

SHOP = REPO / "deploy" / "docker" / "demo" / "shop.py"


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
    with terminal.demo_that_stays(environment) as (_, said), browsing.chromium(tmp_path / "chromium") as driver:
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
