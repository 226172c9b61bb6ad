"""`make demo` once the programs are built: what it leaves behind, and that it leaves nothing running. With namespaces for
the service, and as root has it in a plain container: without the capabilities that make them or read anybody."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time
import xml.etree.ElementTree

import machine
import parts
import pytest
import terminal

REPO = pathlib.Path(__file__).resolve().parents[3]
DEMO = REPO / "deploy" / "docker" / "demo.sh"
OWN = ("edit_distance", "handle_search", "handle_checkout")
# Docker's default lacks these three; setpriv hands on no more than the bounding set.
PLAIN = ["setpriv", "--bounding-set", "-sys_admin,-net_admin,-sys_ptrace"]
LEFT_OUT = "demo: left out: PID and mount namespaces of the service's own (unshare failed: "
# What Python runs before the service: only CAP_SYS_PTRACE reads a process of root's that did this (prctl(2)).
UNDUMPABLE = "import ctypes\nctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE\n"


def left_running():
    """{pid: command line} of the demo's parts."""
    marks = ("podspy-demo-out", "--name demo-", f"{DEMO.parent}/demo/load.py")
    found = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if any(mark in line for mark in marks):
            found[int(path.parent.name)] = line
    return found


@pytest.fixture
def environment(build_dir, tmp_path):
    assert not left_running(), "a demo runs on this machine already: end it first"
    yield dict(os.environ, PODSPY_BUILD=str(build_dir),
               PODSPY_DEMO_DIR=str(tmp_path / "podspy-demo-out"))
    for pid in left_running():  # after a failure
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(params=["namespaces", "plain"])
def before(request):
    """The command that starts the demo."""
    if request.param == "plain":
        return PLAIN
    if why := machine.why_no_namespaces("unchanged"):
        pytest.skip(why)
    return []


def run_demo(environment, *before):
    return subprocess.run([*before, DEMO], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=120)


def test_the_demo_shows_both_workers_and_ends(environment, before):
    done = run_demo(environment, *before)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(LEFT_OUT) == (1 if before else 0), done.stdout
    assert re.search(r"http://127\.0\.0\.1:\d+/$", done.stdout, re.M)  # the page
    assert re.search(r'curl .*https://127\.0\.0\.1:\d+/profiles\?pod=demo&format=svg', done.stdout,
                     re.S)
    out = pathlib.Path(environment["PODSPY_DEMO_DIR"])
    svg = (out / "flamegraph.svg").read_text()
    xml.etree.ElementTree.fromstring(svg)
    assert set(re.findall(r"gunicorn worker (\d) \(\d+\)", svg)) == {"1", "2"}
    assert all(name in svg for name in OWN)
    speedscope = json.loads((out / "profile.speedscope.json").read_text())
    frames = [f["name"] for f in speedscope["shared"]["frames"]]
    with_own = [p["name"] for p in speedscope["profiles"]
                if any(frames[i] == "edit_distance" for stack in p["samples"] for i in stack)]
    assert len(with_own) == 2, [p["name"] for p in speedscope["profiles"]]  # one thread a worker
    assert not left_running()


def test_a_forbidden_read_is_reported_at_once_with_a_remedy(environment, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(UNDUMPABLE)
    done = run_demo(dict(environment, PYTHONPATH=str(tmp_path)), *PLAIN)
    assert done.returncode == 1, done.stdout + done.stderr
    cures = re.findall(r"^NO .*\n +-> (.*)", done.stderr, re.M)
    assert cures and all("SYS_PTRACE" in cure for cure in cures), done.stderr
    assert done.stderr.rstrip().splitlines()[-1].startswith("demo: the service cannot be read here: ")
    assert "waiting" not in done.stdout
    assert not left_running()


def test_on_a_terminal_the_demo_stays_until_ctrl_c(environment):
    with terminal.demo_that_stays(environment) as (demo, said):
        time.sleep(1)
        assert demo.poll() is None and len(left_running()) >= 4, said
    assert not left_running()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_demo_leaves_no_process(environment, before, tmp_path, number):
    """The demo is ended while its parts run, also by SIGKILL, after which it cannot end them itself."""
    # A process in the background of a shell ignores SIGINT unless it is told not to.
    demo = parts.Process([*before, DEMO], tmp_path / "log", env=environment,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    with demo:
        parts.wait_until(lambda: "it waits for samples: " + demo.log,
                         lambda: "waiting for samples" in demo.log or not demo.alive(), 60)
        assert len(left_running()) >= 4
        time.sleep(0.5)
        status = demo.kill(number, 30)
        assert status == (-9 if number == signal.SIGKILL else 128 + number)
        parts.wait_until(lambda: f"all ended: {left_running()}", lambda: not left_running(), 15)
