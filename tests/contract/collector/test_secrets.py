"""Tokens and keys stay off command lines, out of core files and out of other processes' reach."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

import pytest

from collector import REPO, Collector, usual_batch


def _suggested(c):
    """The value of curl= in the line "query with", as it is printed."""
    line = next(l for l in c.log.read_text().splitlines() if "query with" in l)
    return json.loads(line[line.index("curl=") + len("curl="):])


@pytest.mark.parametrize("folder", ["data", "it's a folder"])
def test_the_suggested_command_works_as_it_is_printed(podspy_collector, tmp_path, folder):
    c = Collector(podspy_collector, tmp_path / folder)
    try:
        assert c.push(usual_batch().bytes()).status_code == 200
        command = _suggested(c)
        assert c.token("read") not in command and "read.header" in command
        clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        p = subprocess.run(["sh", "-c", command.replace("NAME", "demo")], capture_output=True, text=True, timeout=60, env=clean)
        assert p.returncode == 0, p.stderr
        assert p.stdout.startswith("<?xml") or "<svg" in p.stdout[:200], p.stdout[:200]
    finally:
        assert c.stop() == 0


def _shown_to_users():
    """What people copy commands from."""
    for pattern in ("*.md", "docs/**/*", "deploy/**/*", "collector/**/*.c", "agent/**/*.c", "cmake/**/*"):
        for path in REPO.glob(pattern):
            if path.is_file() and path.suffix not in (".png", ".svg", ".gif"):
                yield path


def test_no_document_and_no_program_puts_a_token_on_a_command_line():
    on_a_command_line = re.compile(r"(?:-H|--header)[= ]*\\?[\"'][^\"'\n]*Bearer|Bearer[^\n]*\$[({A-Za-z]")
    found = [(str(p.relative_to(REPO)), line) for p in _shown_to_users()
             for line in p.read_text(errors="replace").splitlines() if on_a_command_line.search(line)
             and not re.match(r" +httpHeaderValue\d: ", line)]  # Grafana's provisioning, not a command
    assert not found


def test_the_command_of_the_http_documentation_works(collector):
    """Its first example, with the data folder and the port of a real collector."""
    text = (REPO / "docs" / "http-api.md").read_text()
    command = re.search(r"^    curl --cacert DATA/ca\.pem .*?(?=^    curl )", text, re.M | re.S)[0]
    assert collector.push(usual_batch().bytes()).status_code == 200
    command = command.replace("DATA", str(collector.data)).replace(":8443", f":{collector.https}")
    subprocess.run(["sh", "-ec", command], cwd=collector.data.parent, check=True, timeout=60, capture_output=True)
    assert "<svg" in (collector.data.parent / "demo.svg").read_text()[:2000]


def test_the_collector_writes_no_core_file(collector):
    limits = pathlib.Path(f"/proc/{collector.process.pid}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 +bytes", limits, re.M), limits


NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


@pytest.fixture
def without_root(podspy_collector):
    """A collector without root, and the words in front of a command that make its user run it."""
    user = NOBODY if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        program, data = folder / "podspy-collector", folder / "data"
        shutil.copy(podspy_collector, program)
        data.mkdir()
        wrapper = folder / "start"
        wrapper.write_text(f"#!/bin/sh\nexec {' '.join(user)} {program} \"$@\"\n")
        for path in (folder, program, wrapper):
            path.chmod(0o755)
        if user:
            os.chown(data, 65534, 65534)
        c = Collector(wrapper, data)
        yield c, user
        assert c.stop() == 0, c.log.read_text()


def test_processes_of_the_same_user_cannot_read_the_collectors_memory(without_root):
    c, user = without_root
    own = subprocess.Popen([*user, "sleep", "60"])  # what that user may do
    end = time.monotonic() + 15
    while pathlib.Path(f"/proc/{own.pid}/comm").read_text() != "sleep\n":
        assert time.monotonic() < end
        time.sleep(0.01)
    try:
        for pid, refused in ((own.pid, False), (c.process.pid, True)):
            peek = subprocess.run([*user, "cat", f"/proc/{pid}/environ"], capture_output=True, text=True, timeout=30)
            assert (peek.returncode != 0 and "Permission denied" in peek.stderr) == refused, (pid, peek)
    finally:
        own.kill()
        own.wait()
    assert c.push(usual_batch().bytes()).status_code == 200, "and it works"
    assert c.get("/profiles?pod=demo").status_code == 200
