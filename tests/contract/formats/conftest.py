"""A real Chromium, headless, and profiles made by test_make_profile."""

import functools
import http.server
import subprocess
import threading

import pytest

import browsing


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
    with browsing.chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


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
def speedscope_dir(build_dir):
    """The published speedscope, as the build took it from npm for the collector to serve."""
    release = build_dir / "collector" / "web" / "made" / "www" / "speedscope"
    if not release.is_dir():
        pytest.skip("built with -DPODSPY_WEB=OFF")
    return release
