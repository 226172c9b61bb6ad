"""kubectl podspy, over a kubectl that forwards to a real collector, prints nothing that acts on a terminal."""

import os
import pathlib
import re
import subprocess

import pytest

import targets
from collector import MAIN, Batch, Collector, labels

PLUGIN = pathlib.Path(__file__).resolve().parents[3] / "deploy" / "k8s" / "kubectl-podspy"
KUBECTL = """#!/bin/sh
case "$*" in
*port-forward*) echo "Forwarding from 127.0.0.1:$PORT -> 8080"; exec sleep 600 ;;
*"config view"*) echo shop ;;
*) exit 1 ;;
esac
"""
HOSTILE = "f\n\x1b[2J\u202e\x9b\u2028"
ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


@pytest.fixture(scope="module")
def plugin(podspy_collector, tmp_path_factory):
    """plugin(*arguments) runs it against a collector that holds hostile names."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "kubectl").write_text(KUBECTL)
    (folder / "kubectl").chmod(0o755)
    collector = Collector(podspy_collector, folder / "data")
    batch = Batch()
    batch.add(labels(), [([MAIN, (HOSTILE, "/app/%s.py" % HOSTILE, 7)], 70, "running", 11, "worker")])
    batch.add(labels(pod="broken", pid=7, **{"podspy.problem": "no Python in " + HOSTILE}), [])
    assert collector.push(batch.bytes()).status_code == 200
    env = dict(os.environ, PATH="%s:%s" % (folder, os.environ["PATH"]), PORT=str(collector.http),
               PYTHONIOENCODING="utf-8", PYTHONDONTWRITEBYTECODE="1")

    def run(*arguments, shell=None):
        argv = ["bash", "-c", shell, "-"] if shell else []
        return subprocess.run([*argv, "/usr/bin/python3", PLUGIN, *arguments], capture_output=True, env=env, timeout=60)

    yield run
    assert collector.stop() == 0


@pytest.mark.parametrize("arguments", [["top", "demo"], ["list"], ["explain", "demo"], ["flame", "none\x1b[2J"]],
                         ids=lambda a: a[0])
def test_names_are_shown_escaped(arguments, plugin):
    r = plugin(*arguments)
    text = (r.stdout + r.stderr).decode()
    assert text and not ACTS.search(text), text
    if arguments[0] == "top":
        assert "f\\n\\x1b[2J\\u202e\\x9b\\u2028 (app/f\\n" in text


def test_a_closed_pipe_prints_no_message(plugin):
    r = plugin("flame", "demo", "-o", "-", shell=targets.TO_NOBODY)
    assert (r.stdout, r.stderr) == (b"141\n", b"")
