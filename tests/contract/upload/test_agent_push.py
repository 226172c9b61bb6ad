"""podspy agent as a whole: from a process that a rule opts in to what the collector gets."""

import os
import re
import shutil
import signal
import subprocess
import time

import pytest
import zstandard

import machine
import targets
from collector_double import all_of

WORK = """
import time
def busy_in_the_test():
    end = time.monotonic() + 120
    while time.monotonic() < end:
        sum(range(1000))
busy_in_the_test()  # MARK
"""


@pytest.fixture
def target(tmp_path):
    """A Python service with a command line of its own."""
    name = f"podspy-push-{os.getpid()}"
    script = tmp_path / f"{name}.py"
    script.write_text(WORK)
    p = subprocess.Popen(["/usr/bin/python3", str(script)])
    p.name = name
    yield p
    p.kill()
    p.wait()


@pytest.fixture
def config(tmp_path, authority, double, target):
    """The agent's configuration: the double as collector, the target by its command line."""
    path, token = tmp_path / "agent.yaml", tmp_path / "token"
    double.token = "agents-token"
    token.write_text("agents-token\n")
    path.write_text(f"""
collector: {{url: "{double.url}", ca_file: "{authority.path}", token_file: "{token}"}}
discovery: {{kubernetes: off, docker: off, processes: [{{name: web, cmdline: "{target.name}"}}]}}
budget: {{cpu_percent: 100}}
push: {{interval: 1s, spool_dir: "{tmp_path / 'spool'}", spool_mib: 4}}
""")
    return path


def without_log(stderr):
    """Without CAP_SYS_PTRACE the agent's first line is what it lacks."""
    return re.sub("^time=.*\n", "", stderr, flags=re.M)


def run(podspy, config, *args):
    return subprocess.run(
        [podspy, "agent", "--config", config, *args],
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_an_opted_in_process_is_sampled_and_pushed(podspy, config, double, target, tmp_path):
    def samples():
        done = run(podspy, config, "--once", "3")
        assert done.returncode == 0, done.stderr
        return double.taken(target.pid)

    machine.measured("samples", samples, lambda n: n > 100)
    assert {pid for pid, _ in double.samples.values()} == {target.pid}
    assert set(double.kept.values()) == {1}
    assert not list((tmp_path / "spool").glob("*.window"))
    request = zstandard.ZstdDecompressor().decompress(double.requests[-1][3], 64 << 20)
    strings = [s.decode() for s in all_of(request, 2, 5)]
    assert "busy_in_the_test" in strings
    assert any(s.endswith(f"{target.name}.py") for s in strings)


def test_native_frames_are_pushed_where_a_rule_asks(podspy, config, double, target, tmp_path):
    script = tmp_path / f"{target.name}-native.py"
    script.write_text("import zlib\nwhile True:\n    zlib.compress(b'podspy' * 100000, 9)\n")
    config.write_text(config.read_text().replace('"}]}', '", native: true}]}'))
    with subprocess.Popen(["/usr/bin/python3", str(script)]) as native:
        done = run(podspy, config, "--once", "3")
        native.kill()
    assert done.returncode == 0, done.stderr
    assert double.taken(native.pid) > 20, done.stderr
    requests = [zstandard.ZstdDecompressor().decompress(r[3], 64 << 20) for r in double.requests]
    strings = {s.decode() for r in requests for s in all_of(r, 2, 5)}
    assert {"podspy:native", "deflate"} <= strings
    assert any("libz.so" in s for s in strings)


ENDS = WORK.partition("busy_in_the_test()  #")[0] + """
import ctypes, platform, threading
def state():  # of the main thread
    with open("/proc/self/stat") as f:
        return f.read().rpartition(")")[2].split()[0]
def after_the_end():
    busy_in_the_test()
def work():
    while state() != "Z":
        pass
    after_the_end()
threading.Thread(target=work).start()
time.sleep(%s)
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)  # exit: of this thread alone
"""


@pytest.mark.parametrize("seconds", [0, 2], ids=["before", "meanwhile"])
def test_a_process_is_sampled_after_its_main_thread_has_ended(seconds, podspy, config, double, target, tmp_path):
    script = tmp_path / f"{target.name}-ends.py"
    script.write_text(ENDS % seconds)
    p = subprocess.Popen(["/usr/bin/python3", script])
    try:
        if seconds == 0:
            targets.wait_for(lambda: targets.state_of(p.pid) == "Z")
        done = run(podspy, config, "--once", str(seconds + 4))
        assert targets.state_of(p.pid) == "Z" and done.returncode == 0, done.stderr
        bodies = [zstandard.ZstdDecompressor().decompress(r[3], 64 << 20) for r in double.requests]
        assert double.taken(p.pid) > 0 and any(b"after_the_end" in body for body in bodies), done.stderr
    finally:
        p.kill()
        p.wait()


def test_a_python_that_is_not_cpython_is_named(podspy, config, double, target, tmp_path):
    program = tmp_path / f"pypy3-{target.name}"
    shutil.copy("/bin/sleep", program)
    p = subprocess.Popen([program, "600"])
    try:
        done = run(podspy, config, "--once", "3")
        bodies = [zstandard.ZstdDecompressor().decompress(r[3], 64 << 20) for r in double.requests]
        problem = b"process %d runs PyPy; podspy reads CPython only" % p.pid
        assert any(problem in body for body in bodies), done.stderr
    finally:
        p.kill()
        p.wait()


def test_sigterm_ends_the_agent_and_its_last_window_is_sent(podspy, config, double, target):
    agent = subprocess.Popen([podspy, "agent", "--config", config], stderr=subprocess.PIPE)
    try:
        targets.wait_for(lambda: double.kept)
        time.sleep(0.5)  # into the next window, so that there is something left to send
        windows = len(double.kept)
        assert windows
        agent.send_signal(signal.SIGTERM)
        log = agent.communicate(timeout=60)[1].decode()
        assert agent.returncode == 0, log
        assert len(double.kept) > windows, log
    finally:
        if agent.poll() is None:
            agent.kill()
            agent.wait()


def test_an_agent_without_its_collector_keeps_windows_and_logs_it(
    podspy, config, double, target, tmp_path
):
    double.close()
    agent = subprocess.Popen([podspy, "agent", "--config", config], stderr=subprocess.PIPE)
    targets.wait_for(lambda: list((tmp_path / "spool").glob("*.window")))
    time.sleep(1)
    agent.send_signal(signal.SIGINT)
    log = agent.communicate(timeout=60)[1].decode()
    assert agent.returncode == 0
    assert log.count("cannot be reached") == 1, log
    assert "windows wait in the spool" in log
    assert list((tmp_path / "spool").glob("*.window"))


@pytest.mark.parametrize(
    "url, word",
    [("http://collector.example:8443", "clear text"), ("https://c/v1", "path"), ("nonsense", "")],
)
def test_an_invalid_collector_url_is_a_usage_error(podspy, config, url, word):
    done = run(podspy, config, "--collector", url)
    assert done.returncode == 2
    assert word in done.stderr
    said = without_log(done.stderr)
    assert said.startswith("Error: ") and said.count("\n") == 1


def test_native_frames_without_pauses_are_refused_and_reported(podspy, config, target):
    config.write_text(config.read_text() + "sampling: {native: true, blocking: never}\n")
    done = run(podspy, config, "--once", "1")
    assert done.returncode == 0
    assert done.stderr.count("native frames need pauses") == 1, done.stderr


def test_a_second_agent_on_one_spool_is_refused_with_a_remedy(podspy, config, double):
    first = subprocess.Popen([podspy, "agent", "--config", config], stderr=subprocess.DEVNULL)
    try:
        targets.wait_for(lambda: double.requests)
        done = run(podspy, config, "--once", "1")
        assert done.returncode == 1
        assert "another agent" in done.stderr and "push.spool_dir" in done.stderr
    finally:
        first.send_signal(signal.SIGTERM)
        first.wait(60)


def test_the_metrics_file_is_prometheus_text_with_the_counts(podspy, config, double, target, tmp_path):
    assert run(podspy, config, "--once", "4").returncode == 0
    text = (tmp_path / "spool" / "metrics.prom").read_text()
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr + checked.stdout
    value = {name: float(n) for name, n in
             (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))}
    assert value["podspy_agent_processes"] == 1
    assert value['podspy_agent_samples_total{result="clean"}'] > 50
    # The file is of the last window's end, when all but that window may have been sent.
    assert 1 <= value['podspy_agent_upload_windows_total{result="sent"}'] <= len(double.requests)
