"""A real Chromium, headless, and profiles made by test_make_profile."""

import functools
import http.server
import pathlib
import shutil
import subprocess
import threading

import pytest

SWITCHES = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--window-size=1200,700",
]


@pytest.fixture(scope="session")
def make_profile(program):
    """make_profile(format, *flags) prints a synthetic profile and returns its bytes."""
    path = program("test_make_profile")

    def make(fmt, *flags):
        done = subprocess.run([path, fmt, *flags], capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return make


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """One Chromium for all tests, driven by selenium; ended with the session."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="install python3-selenium")
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("install chromium and chromium-driver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for switch in SWITCHES:
        options.add_argument(switch)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
    yield driver
    driver.quit()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def serve(tmp_path):
    """serve(folder) serves it on loopback and returns the address; without one, a folder of its own."""
    servers = []

    def start(folder=tmp_path):
        handler = functools.partial(Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def speedscope_dir(repo_dir, build_dir):
    """The published speedscope, installed by npm ci into the build folder."""
    if not shutil.which("npm"):
        pytest.skip("install npm")
    there = build_dir / "tests-web"
    release = there / "node_modules" / "speedscope" / "dist" / "release"
    lock = repo_dir / "tests" / "web" / "package-lock.json"
    fresh = there / "package-lock.json"
    if not release.is_dir() or fresh.read_bytes() != lock.read_bytes():
        there.mkdir(exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(lock.with_name(name), there / name)
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=there, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    return pathlib.Path(release)
