"""podspy record and the program that it starts: who ends whom, with what status, and what is saved."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import pytest

import machine
import pythons
import targets

SUPPORTED = pythons.three()
if os.environ.get("PODSPY_SANITIZE"):
    SUPPORTED = SUPPORTED[:1] + SUPPORTED[-1:]
each = pytest.mark.parametrize("python", SUPPORTED, ids=pythons.id_of)
ONE = SUPPORTED[-1]
# Works until it is told to end, then takes a second to save; argv: where to, the signal that has a handler or "none".
SAVES = """
import os, signal, sys, time
path, what = sys.argv[1], sys.argv[2]
def save():
    end = time.time() + 1
    while time.time() < end: time.sleep(0.02)
    with open(path, "a") as f: f.write("saved\\n")
def term(*_):
    save()
    sys.exit(9)
if what != "none": signal.signal(getattr(signal, what), term)
try:
    sys.stdout.write("ready\\n"); sys.stdout.flush()
    while True: sum(range(1000))
except KeyboardInterrupt:
    save()
    sys.exit(8)
"""


def record(podspy, tmp_path, *flags):
    return [podspy, "record", "-i", "-f", "raw", "-o", tmp_path / "o", *flags, "--"]


def begin(argv, **options):
    """podspy, once it samples a program that is ready for signals."""
    p = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    assert p.stdout.readline() == b"ready\n"
    assert b"Sampling process" in p.stderr.readline()
    time.sleep(0.3)
    return p


def child_of(p):
    (child,) = open("/proc/%d/task/%d/children" % (p.pid, p.pid)).read().split()
    return int(child)


def written(tmp_path):
    assert re.search(rb"<module> .*\d+$", (tmp_path / "o").read_bytes(), re.M)
    return True


class Terminal:
    """podspy on a terminal of its own, in the foreground."""

    def __init__(self, argv):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(argv[0], [os.fsdecode(a) for a in argv])
        self.said = b""
        self.status = None

    def read_until(self, what, seconds=120):
        end = time.monotonic() + seconds
        while what not in self.said:
            assert time.monotonic() < end, self.said
            if select.select([self.fd], [], [], 0.1)[0]:
                self.said += os.read(self.fd, 65536)

    def end(self, seconds=120):
        """Its exit status."""
        give_up = time.monotonic() + seconds
        while self.status is None:
            assert time.monotonic() < give_up, self.said
            try:
                if select.select([self.fd], [], [], 0.05)[0]:
                    self.said += os.read(self.fd, 65536)
            except OSError:  # nobody holds the other end any more
                pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def close(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal():
    all_of_them = []

    def start(argv):
        all_of_them.append(Terminal(argv))
        return all_of_them[-1]

    yield start
    for t in all_of_them:
        t.close()


@each
def test_control_c_leaves_the_program_time_to_save(python, podspy, tmp_path, terminal):
    t = terminal([*record(podspy, tmp_path), python.path, "-c", SAVES, tmp_path / "saved", "none"])
    t.read_until(b"Sampling process")
    t.read_until(b"ready")
    time.sleep(0.3)
    os.write(t.fd, b"\x03")
    t.read_until(b"Wrote raw data")  # before it waits
    assert not (tmp_path / "saved").exists() and written(tmp_path)
    t.read_until(b"Waiting for the program (process ")
    assert t.end() == 8
    assert (tmp_path / "saved").read_text() == "saved\n"  # one signal: no second one cut it short
    assert t.said.count(b"Waiting for the program") == 1


def test_control_c_reaches_a_program_with_a_group_of_its_own(podspy, tmp_path, terminal):
    # The terminal's signal does not.
    t = terminal([*record(podspy, tmp_path), ONE.path, "-c", "import os; os.setpgid(0, 0)\n" + SAVES, tmp_path / "saved", "none"])
    t.read_until(b"Sampling process")
    t.read_until(b"ready")
    time.sleep(0.3)
    os.write(t.fd, b"\x03")
    assert t.end() == 8
    assert (tmp_path / "saved").read_text() == "saved\n"


def test_a_second_control_c_ends_the_program_at_once(podspy, tmp_path, terminal):
    # With a handler that does nothing, so that only what podspy does can end it.
    code = SAVES.replace("sys.exit(9)", "pass").replace("save()\n    pass", "pass")
    t = terminal([*record(podspy, tmp_path), ONE.path, "-c", code, tmp_path / "saved", "SIGINT"])
    t.read_until(b"Sampling process")
    t.read_until(b"ready")
    time.sleep(0.3)  # samples of what it does then
    os.write(t.fd, b"\x03")
    t.read_until(b"A second Control-C")
    time.sleep(0.5)
    os.write(t.fd, b"\x03")
    assert t.end() == 128 + signal.SIGKILL
    assert written(tmp_path)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda s: s.name)
def test_a_signal_to_podspy_alone_is_passed_on(sig, podspy, tmp_path):
    argv = [*record(podspy, tmp_path), ONE.path, "-c", SAVES, tmp_path / "saved", sig.name]
    p = begin(argv)
    p.send_signal(sig)
    _, said = p.communicate(timeout=120)
    assert p.returncode == 9, said
    assert (tmp_path / "saved").read_text() == "saved\n" and written(tmp_path)
    assert said.count(b"Waiting for the program") == 1


def test_a_program_that_ignores_the_signal_gets_sigterm(podspy, tmp_path):
    """A script's background jobs ignore SIGINT (POSIX, sh, 2.11)."""
    argv = [*record(podspy, tmp_path), ONE.path, "-c", SAVES, tmp_path / "saved", "SIGTERM"]
    p = begin(argv, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=120)
    assert p.returncode == 9 and (tmp_path / "saved").exists()


def test_simultaneous_signals_count_once(podspy, tmp_path):
    """timeout(1) signals its child and then the group."""
    argv = [*record(podspy, tmp_path), ONE.path, "-c", SAVES, tmp_path / "saved", "SIGTERM"]
    p = begin(argv)
    for _ in range(3):
        p.send_signal(signal.SIGTERM)
        time.sleep(0.03)
    p.communicate(timeout=120)
    assert p.returncode == 9 and (tmp_path / "saved").exists()


def test_a_later_signal_ends_the_program_at_once(podspy, tmp_path):
    argv = [*record(podspy, tmp_path), ONE.path, "-c", SAVES.replace("+ 1", "+ 60"), tmp_path / "saved", "SIGTERM"]
    p = begin(argv)
    child = child_of(p)
    p.send_signal(signal.SIGTERM)
    time.sleep(0.7)
    assert p.poll() is None
    p.send_signal(signal.SIGTERM)
    p.communicate(timeout=40)
    assert p.returncode == 128 + signal.SIGKILL and written(tmp_path)
    assert not os.path.exists("/proc/%d" % child)


DURATIONS = ("1", "5", "20")  # on a busy machine a program may take long until it is ready for a signal


def test_the_program_gets_sigterm_at_the_end_of_the_duration(podspy, tmp_path):
    durations = iter(DURATIONS)

    def saved():
        argv = [*record(podspy, tmp_path, "-d", next(durations)), ONE.path, "-c", SAVES, tmp_path / "saved", "SIGTERM"]
        r = targets.run(argv)
        assert r.returncode == 0, r.stderr  # podspy ended it: the recording did what it was to do
        assert written(tmp_path)
        return (tmp_path / "saved").exists() and (tmp_path / "saved").read_text()

    machine.measured("saved", saved, lambda text: text == "saved\n")


def test_the_profile_is_written_before_podspy_waits(podspy, tmp_path):
    durations = iter(DURATIONS)

    def waits():
        argv = [*record(podspy, tmp_path, "-d", next(durations)), ONE.path, "-c", SAVES.replace("+ 1", "+ 60"),
                tmp_path / "saved", "SIGTERM"]
        p = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            if p.stdout.readline() != b"ready\n":
                return False
            child = child_of(p)
            while b"Waiting for the program" not in p.stderr.readline():
                pass
            p.kill()
            os.kill(child, signal.SIGKILL)  # it has its second SIGTERM, from the kernel, and would save for a minute
        finally:
            p.kill()
            p.communicate()
        assert written(tmp_path)
        return True

    machine.measured("ready for SIGTERM", waits, lambda is_so: is_so)


STATUSES = [("raise SystemExit(7)", 7), ("raise ValueError", 1), ("import os; os.kill(os.getpid(), 11)", 128 + 11),
            ("import os; os._exit(255)", 255), ("", 0)]


@pytest.mark.parametrize("code,status", STATUSES, ids=lambda x: str(x))
@each
def test_record_ends_with_the_programs_status(python, code, status, podspy, tmp_path):
    work = "import time\ne = time.time() + 0.7\nwhile time.time() < e: pass\n"
    r = targets.run([*record(podspy, tmp_path), python.path, "-c", work + code])
    assert r.returncode == status, r.stderr
    assert written(tmp_path) and b"because the program has ended" in r.stderr


@pytest.mark.parametrize("flags", [["--blocking"], []], ids=["blocking", "default"])
def test_the_status_is_known_when_the_program_ends_during_a_pause(flags, podspy, tmp_path):
    """A tracer that waits for a stop must not take the exit of its child."""
    for i in range(12):
        code = "import os, time\ne = time.time() + 0.4\nwhile time.time() < e: pass\nos._exit(%d)" % (40 + i)
        r = targets.run([*record(podspy, tmp_path, "-r", "1000", *flags), ONE.path, "-c", code], seconds=120)
        assert r.returncode == 40 + i, r.stderr


def test_the_status_is_known_where_podspy_was_started_with_sigchld_ignored(podspy, tmp_path):
    code = "import time\ne = time.time() + 0.5\nwhile time.time() < e: pass\nraise SystemExit(6)"
    r = targets.run([*record(podspy, tmp_path), ONE.path, "-c", code],
                    preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert r.returncode == 6, r.stderr


def test_podspys_failure_takes_precedence_over_the_programs_status(podspy):
    work = "import time\ne = time.time() + 0.7\nwhile time.time() < e: pass\nraise SystemExit(7)"
    r = targets.run([podspy, "record", "-o", "/dev/full", "--", ONE.path, "-c", work])
    assert r.returncode == 1 and b"Error: cannot write /dev/full" in r.stderr


def test_podspys_failure_is_reported_before_it_waits(podspy):
    slow = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (time.sleep(3), sys.exit(7)))\nwhile True: sum(range(999))"
    durations = iter(DURATIONS)

    def last_line():
        argv = [podspy, "record", "-d", next(durations), "-o", "/dev/full", "--", ONE.path, "-c", slow]
        with subprocess.Popen(argv, stderr=subprocess.PIPE) as p:
            said = [p.stderr.readline() for _ in range(3)]
            assert b"Error: cannot write /dev/full" in said[1], said
            assert p.wait(120) == 1 and p.stderr.read() == b""
        return said[2]

    machine.measured("said last", last_line, lambda line: b"Waiting for the program" in line)


@pytest.mark.skipif(os.getuid() != 0, reason="only root starts programs of two users")
def test_a_program_that_may_not_be_killed_is_left_running(podspy, tmp_path):
    """As sudo does it: the program becomes another user's, who may not be sent a signal."""
    tmp_path.chmod(0o777)
    place = shutil.copy(podspy, tmp_path / "podspy")
    wrapper = shutil.copy("/usr/bin/python3", tmp_path / "python3")
    os.chmod(wrapper, 0o4755)
    # What podspy says ends when podspy does: the program does not hold its stderr.
    work = "import os\nos.setresuid(0, 0, 0)\nos.close(2)\nimport sys; sys.stdout.write('ready\\n'); sys.stdout.flush()\nwhile True: sum(range(999))"
    demote = {"user": 65534, "group": 65534, "extra_groups": []}
    folder = next(p for p in tmp_path.parents if p.name.startswith("pytest-of"))
    modes = [(p, p.stat().st_mode) for p in (folder, *[q for q in tmp_path.parents if folder in q.parents])]
    for p, mode in modes:
        p.chmod(mode | 0o055)
    try:
        p = subprocess.Popen([place, "record", "-i", "-f", "raw", "-o", tmp_path / "o", "--", wrapper, "-c", work],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, **demote)
        assert p.stdout.readline() == b"ready\n"
        child = child_of(p)
        try:
            time.sleep(0.3)
            p.send_signal(signal.SIGTERM)
            assert b"Waiting for the program" in next(line for line in p.stderr if b"Waiting" in line)
            time.sleep(0.3)
            p.send_signal(signal.SIGTERM)
            said = p.stderr.read()
            assert p.wait(120) == 1
            assert b"cannot be ended, it is another user's: podspy ends without it" in said, said
        finally:
            os.kill(child, signal.SIGKILL)
            p.kill()
            p.wait()
            p.stdout.close()
            p.stderr.close()
    finally:
        for p, mode in modes:
            p.chmod(mode)


@pytest.mark.parametrize("argv,status,how", [
    (["/bin/true"], 1, "with status 0"), (["/bin/sh", "-c", "exit 5"], 5, "with status 5"),
    (["/bin/sh", "-c", "kill -9 $$"], 137, "by SIGKILL")], ids=lambda x: str(x[-1]) if isinstance(x, list) else str(x))
def test_a_program_that_ends_before_the_first_sample_is_reported(argv, status, how, podspy, tmp_path):
    r = targets.run([*record(podspy, tmp_path), *argv])
    assert (r.returncode, r.stdout) == (status, b"")
    assert r.stderr.decode() == "Error: the program ended %s before it was sampled\n" % how
    assert not (tmp_path / "o").exists()


@each
def test_a_short_python_is_never_called_another_program(python, podspy, tmp_path):
    for _ in range(5):  # it may or may not be met while it starts
        r = targets.run([*record(podspy, tmp_path), python.path, "-S", "-c", "raise SystemExit(3)"])
        assert r.returncode == 3 and b"no Python" not in r.stderr, r.stderr


def test_a_process_that_ends_at_once_is_reported(podspy, tmp_path):
    said = set()
    for _ in range(10):
        t = subprocess.Popen(["/bin/sleep", "0.3"])
        r = targets.run([podspy, "record", "-p", str(t.pid), "-o", tmp_path / "o"])
        t.wait()
        assert r.returncode == 1
        said.add(r.stderr.decode().replace(str(t.pid), "N"))
    # On a busy machine it may be a zombie before podspy begins.
    said -= {"Error: nothing to read in process N: it has ended, and its parent has not taken notice (a zombie)\n"}
    assert said == {"Error: process N ended before it was sampled\n"}


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_a_signal_before_the_first_sample_ends_record(sig, podspy, tmp_path):
    p = subprocess.Popen([*record(podspy, tmp_path), "/bin/sleep", "60"], stderr=subprocess.PIPE)
    targets.wait_for(lambda: open("/proc/%d/task/%d/children" % (p.pid, p.pid)).read())
    time.sleep(0.2)
    p.send_signal(sig)
    _, said = p.communicate(timeout=120)
    assert p.returncode == 128 + sig
    assert said == b"Error: interrupted before the first sample\n"


# --- SIGHUP ---

def test_sighup_writes_the_profile(podspy, tmp_path):
    with targets.running([ONE.path, "-c", "print(1, flush=True)\nwhile True: pass"]) as t:
        p = subprocess.Popen([podspy, "record", "-i", "-f", "raw", "-p", str(t.pid), "-o", tmp_path / "o"],
                             stderr=subprocess.PIPE)
        assert b"Sampling process" in p.stderr.readline()
        time.sleep(0.4)
        p.send_signal(signal.SIGHUP)
        _, said = p.communicate(timeout=120)
        assert p.returncode == 0 and written(tmp_path) and b"because SIGHUP came" in said


def test_an_ignored_sighup_stays_ignored(podspy, tmp_path):
    with targets.running([ONE.path, "-c", "print(1, flush=True)\nwhile True: pass"]) as t:
        p = subprocess.Popen([podspy, "record", "-i", "-f", "raw", "-p", str(t.pid), "-o", tmp_path / "o"],
                             stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        assert b"Sampling process" in p.stderr.readline()
        p.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert p.poll() is None
        p.send_signal(signal.SIGTERM)
        _, said = p.communicate(timeout=120)
        assert p.returncode == 0 and written(tmp_path) and b"because SIGTERM came" in said


def test_a_closed_terminal_ends_program_and_recording(podspy, tmp_path, terminal):
    t = terminal([*record(podspy, tmp_path), ONE.path, "-c", SAVES, tmp_path / "saved", "SIGHUP"])
    t.read_until(b"Sampling process")
    t.read_until(b"ready")
    time.sleep(0.3)
    os.close(t.fd)
    t.fd = os.open(os.devnull, os.O_RDONLY)
    _, status = os.waitpid(t.pid, 0)
    t.status = os.waitstatus_to_exitcode(status)
    assert t.status == 9 and written(tmp_path)
    assert (tmp_path / "saved").read_text() == "saved\n"
