"""A process whose memory hangs every reader costs the other processes only a few seconds."""

import os
import pathlib
import platform
import signal
import subprocess
import time

import pytest
import zstandard

import targets

HERE = pathlib.Path(__file__).resolve().parent
WORK = """
import time
print("ready", flush=True)
while True: sum(range(1000))
"""
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or platform.machine() not in ("x86_64", "aarch64"),
    reason="userfaultfd(2) for the kernel's own faults needs root",
)


@pytest.fixture
def busy(tmp_path):
    script = tmp_path / f"podspy-busy-{os.getpid()}.py"
    script.write_text(WORK)
    with targets.running(["/usr/bin/python3", str(script)]) as target:
        yield target


@pytest.fixture
def blocking(tmp_path):
    script = tmp_path / f"podspy-blocking-{os.getpid()}.py"
    script.write_text((HERE / "blocking.py").read_text())
    with targets.running(["/usr/bin/python3", str(script)]) as target:
        if target.said != b"ready":
            pytest.skip(f"no userfaultfd(2) for the kernel's own faults: {target.said}")
        yield target


@pytest.fixture
def agent(podspy, tmp_path, authority, double):
    config, token = tmp_path / "agent.yaml", tmp_path / "token"
    double.token = "agents-token"
    token.write_text("agents-token\n")
    config.write_text(f"""
collector: {{url: "{double.url}", ca_file: "{authority.path}", token_file: "{token}"}}
discovery:
  kubernetes: off
  docker: off
  processes:
    - {{name: busy, cmdline: "podspy-busy-{os.getpid()}"}}
    - {{name: blocking, cmdline: "podspy-blocking-{os.getpid()}"}}
push: {{interval: 1s, spool_dir: "{tmp_path / 'spool'}"}}
""")
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen([podspy, "agent", "--config", config], stderr=log)
    yield process
    process.kill()
    process.wait()


def told(double, text):
    return any(text in zstandard.ZstdDecompressor().decompress(request[3], 64 << 20)
               for request in double.requests)


def test_a_hung_read_does_not_hold_up_other_processes(busy, blocking, agent, double, tmp_path):
    log = tmp_path / "log"
    try:
        targets.wait_for(lambda: "restarting without" in log.read_text(), 60)
        assert f"pid={blocking.pid}" in log.read_text().split("restarting without")[1].split("\n")[0]
        before = double.taken(busy.pid)
        targets.wait_for(lambda: double.taken(busy.pid) > before + 200, 30)
        targets.wait_for(lambda: told(double, b"did not end"), 30)
        time.sleep(4)
        assert log.read_text().count("podspy agent started") == 2
        assert log.read_text().count("restarting without") == 1
        assert agent.poll() is None and targets.state_of(busy.pid) == "R"
    finally:
        print(log.read_text())
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(20) == 0
    assert "podspy agent ended" in log.read_text()


@pytest.mark.parametrize("command", ["record", "dump"])
def test_commands_report_a_hung_read_and_end(podspy, blocking, tmp_path, command):
    more = ["--duration", "1", "--output", tmp_path / "out.svg"] if command == "record" else []
    done = targets.run([podspy, command, *more, "--pid", str(blocking.pid)], 60)
    assert done.returncode == 1
    said = done.stderr.decode()
    assert f"Error: a read of the memory of process {blocking.pid} does not end" in said
    assert targets.state_of(blocking.pid) == "S"
