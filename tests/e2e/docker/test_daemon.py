"""deploy/docker/with-daemon.sh: a temporary docker daemon for one command, as `make images` uses it."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess

import engine
import parts
import pytest

WITH_DAEMON = pathlib.Path(__file__).resolve().parents[3] / "deploy" / "docker" / "with-daemon.sh"
ASK = 'echo "$DOCKER_HOST"; docker version --format "answers {{.Server.Os}}"; '


@pytest.fixture
def no_daemon():
    """The environment, in which no daemon may answer: with-daemon.sh would use that one."""
    if why := engine.why_not():
        pytest.skip(why)
    environment = {k: v for k, v in os.environ.items() if k not in ("DOCKER_HOST", "DOCKER_CONTEXT")}
    if subprocess.run(["docker", "version"], env=environment, capture_output=True).returncode == 0:
        pytest.skip("a docker daemon answers on this machine")
    return environment


def run(environment, command):
    return subprocess.run([WITH_DAEMON, "sh", "-c", command], env=environment, capture_output=True, text=True, timeout=120)


def folder_of(output):
    return pathlib.Path(re.search(r"^unix://(/tmp/podspy-docker-\w+)/docker\.sock$", output, re.M)[1])


def processes_in(folder):
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def commands_of(pid):
    """The children that are the command, once the shell has executed sleep."""
    found = []
    for child in parts.children(pid):
        with contextlib.suppress(OSError):  # the docker client has ended since
            if pathlib.Path(f"/proc/{child}/comm").read_text() == "sleep\n":
                found.append(child)
    return found


def test_the_temporary_daemon_ends_with_its_command(no_daemon):
    done = run(no_daemon, ASK + "exit 7")
    assert done.returncode == 7, done.stdout + done.stderr
    assert "answers linux" in done.stdout
    folder = folder_of(done.stdout)
    assert not folder.exists() and not processes_in(folder)
    assert str(folder) not in pathlib.Path("/proc/self/mounts").read_text()


def test_a_signal_ends_the_temporary_daemon(no_daemon, tmp_path):
    with parts.Process([WITH_DAEMON, "sh", "-c", ASK + "exec sleep 60"], tmp_path / "log", env=no_daemon) as it:
        parts.wait_until(lambda: it.log, lambda: "answers linux" in it.log, 60)
        folder = folder_of(it.log)
        assert processes_in(folder)
        parts.wait_until(lambda: it.log, lambda: commands_of(it.pid), 10)
        for pid in commands_of(it.pid):
            os.kill(pid, signal.SIGTERM)  # bash runs its trap once the command has ended
        assert it.kill(signal.SIGTERM, 60) in (143, -15)
    assert not folder.exists() and not processes_in(folder)


def test_a_named_daemon_that_does_not_answer_is_not_replaced(no_daemon, tmp_path):
    named = f"unix://{tmp_path}/nobody.sock"
    done = run(dict(no_daemon, DOCKER_HOST=named), "echo ran")
    assert done.returncode == 1 and done.stdout == ""
    assert f"the docker daemon at DOCKER_HOST={named} does not answer" in done.stderr
