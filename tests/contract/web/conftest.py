"""The collector's page in a real Chromium: a collector that holds the scene, and the page as a person has it."""

import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "collector"))

import browsing  # noqa: E402
import scene  # noqa: E402
from collector import Collector  # noqa: E402
from page import Page  # noqa: E402


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """One Chromium for all tests; ended with the session."""
    with browsing.chromium(tmp_path_factory.mktemp("chromium")) as driver:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": Page.WATCH})
        yield driver


@pytest.fixture(scope="session")
def shop(podspy_collector, build_dir, tmp_path_factory):
    """A collector that holds the scene; for tests that only read."""
    if not (build_dir / "collector" / "web" / "made" / "assets.inc").is_file():
        pytest.skip("built with -DPODSPY_WEB=OFF")
    c = Collector(podspy_collector, tmp_path_factory.mktemp("shop") / "data")
    answer = c.push(scene.whole())
    assert answer.status_code == 200 and not answer.content, answer.content
    yield c
    assert c.stop() == 0, c.log.read_text()


@pytest.fixture
def new_shop(podspy_collector, shop, tmp_path):
    """Another one, for tests that change it."""
    c = Collector(podspy_collector, tmp_path / "data")
    assert c.push(scene.whole()).status_code == 200
    yield c
    assert c.stop() == 0, c.log.read_text()


@pytest.fixture
def page(browser, shop):
    """The page of the scene. What it did beyond its origin or its policy, or logged, fails the test."""
    it = Page(browser, f"http://127.0.0.1:{shop.http}")
    yield it
    it.assert_quiet()


@pytest.fixture(scope="session")
def axe(repo_dir, build_dir):
    """The source of axe-core, installed by npm ci into the build folder."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed: cmake/setup.sh test installs it")
    there = build_dir / "tests-web"
    script = there / "node_modules" / "axe-core" / "axe.min.js"
    lock = repo_dir / "tests" / "web" / "package-lock.json"
    fresh = there / "package-lock.json"
    if not script.is_file() or fresh.read_bytes() != lock.read_bytes():
        there.mkdir(exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(lock.with_name(name), there / name)
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"],
            cwd=there, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    return script.read_text()
