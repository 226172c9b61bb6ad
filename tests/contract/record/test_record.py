"""podspy record, as a user calls it."""

import json
import os
import random
import re
import signal
import subprocess
import time
import xml.etree.ElementTree

import pytest

import machine
import pythons
import targets

HERE = os.path.dirname(__file__)
SUPPORTED = [p for p in pythons.few() if p.minor >= (3, 7)]  # the targets need time.thread_time
SANITIZED = bool(os.environ.get("PODSPY_SANITIZE"))
if SANITIZED:
    SUPPORTED = SUPPORTED[:1] + SUPPORTED[-1:]
each = pytest.mark.parametrize("python", SUPPORTED, ids=pythons.id_of)
MODES = [[], ["--nonblocking"], ["--blocking"]]
each_mode = pytest.mark.parametrize("flags", MODES, ids=lambda f: "".join(f) or "default")


def count_of(raw, names):
    """How many samples each of these functions is in."""
    counts = dict.fromkeys(names, 0)
    for line in raw.decode().splitlines():
        stack, _, n = line.rpartition(" ")
        for name in names:
            if re.search(r"(^|;)%s \(" % name, stack):
                counts[name] += int(n)
    return counts


def totals(stderr):
    m = re.search(rb"Samples: (\d+) Errors: (\d+)", stderr)
    return int(m[1]), int(m[2])


SHARES = [(p, []) for p in SUPPORTED] + [(SUPPORTED[0], ["--nonblocking"]), (SUPPORTED[-1], ["--blocking"])]
if SANITIZED:  # shares say nothing of memory
    SHARES = SHARES[:1]


@pytest.mark.parametrize("python,flags", SHARES, ids=lambda x: x.id if isinstance(x, pythons.Python) else "".join(x) or "default")
def test_known_shares_are_measured(python, flags, podspy):
    """Two points, with samples enough that chance stays well inside of them (sigma is 0.65)."""
    def points_off():
        want, give_up = 5000, time.monotonic() + 60
        counts = {"seventy": 0, "thirty": 0}
        samples = errors = 0
        os.kill(t.pid, signal.SIGUSR1)
        first = [int(n) for n in t.read_line().split()]
        argv = [podspy, "record", "-p", str(t.pid), "-d", "3", "-r", "1000", "-f", "raw", "-o", "-", *flags]
        while sum(counts.values()) < want and time.monotonic() < give_up:
            r = targets.run(argv)
            assert r.returncode == 0, r.stderr
            for name, n in count_of(r.stdout, counts).items():
                counts[name] += n
            more = totals(r.stderr)
            samples, errors = samples + more[0], errors + more[1]
        os.kill(t.pid, signal.SIGUSR1)
        last = [int(n) for n in t.read_line().split()]
        spent = [b - a for a, b in zip(first, last)]
        truth, got = 100 * spent[0] / sum(spent), 100 * counts["seventy"] / sum(counts.values())
        return got - truth, sum(counts.values()), errors

    with targets.running([python.path, HERE + "/workload.py"]) as t:
        machine.measured("points off, of samples, errors", points_off,
                         lambda m: abs(m[0]) < 2 and m[1] > 2000 and m[2] <= m[1] / 100)


@each
def test_every_format_is_written(python, podspy, tmp_path):
    with targets.running([python.path, HERE + "/counts.py"]) as t:
        base = [podspy, "record", "-p", str(t.pid), "-d", "0.5", "-r", "200"]
        for name, more in (("flamegraph", []), ("speedscope", ["-t"]), ("raw", ["--idle", "-F"])):
            path = tmp_path / name
            r = targets.run([*base, "-f", name.upper() if name == "raw" else name, "-o", path, *more])
            assert r.returncode == 0, r.stderr
            assert b"Wrote" in r.stderr and str(path).encode() in r.stderr
        svg = xml.etree.ElementTree.parse(tmp_path / "flamegraph").getroot()
        assert svg.tag.endswith("svg") and "count (" in (tmp_path / "flamegraph").read_text()
        scope = json.loads((tmp_path / "speedscope").read_text())
        assert "speedscope" in scope["$schema"] and scope["profiles"]
        raw = (tmp_path / "raw").read_text()
        assert re.search(r"^<module> \(.*counts.py:\d+\);count \(.*counts.py:7\) \d+$", raw, re.M)


@each
def test_duration_and_rate_are_kept(python, podspy):
    def took_and_samples():
        begin = time.monotonic()
        r = targets.run([podspy, "record", "-p", str(t.pid), "-d", "2", "-r", "100", "-f", "raw", "-o", "-", "-g", "-i"])
        took = time.monotonic() - begin
        assert r.returncode == 0 and took > 1.9
        assert b"100 times a second for 2 seconds" in r.stderr
        return took, totals(r.stderr)[0]

    with targets.running([python.path, HERE + "/counts.py"]) as t:
        machine.measured("seconds, samples of four threads", took_and_samples,  # a loaded machine skips rounds
                         lambda m: m[0] < 6 and 4 * 120 < m[1] <= 4 * 230)


@each
def test_a_program_is_started_and_profiled(python, podspy, tmp_path):
    script = tmp_path / "short.py"
    script.write_text("import sys, time\ndef f():\n    e = time.time() + 1.5\n    while time.time() < e: pass\nf()\nprint(sys.argv[1:])\n")
    out = tmp_path / "out"
    r = targets.run([podspy, "record", "-f", "raw", "-o", out, "--", python.path, script, "-x", "--rate"])
    assert r.returncode == 0, r.stderr
    assert r.stdout == b"['-x', '--rate']\n"
    assert b"the program has ended" in r.stderr
    assert re.search(r"f \(.*short.py:4\)", out.read_text())


def test_the_default_name_has_program_and_time(podspy, tmp_path):
    code = "import time\ne = time.time() + 1\nwhile time.time() < e: pass"
    for name, end in (("flamegraph", "svg"), ("speedscope", "json"), ("raw", "txt")):
        argv = [podspy, "record", "-d", "0.5", "-f", name, "--", SUPPORTED[0].path, "-c", code]
        assert targets.run(argv, cwd=tmp_path).returncode == 0
        assert any(re.match(r"python3-\d{4}-\d\d-\d\dT.*\." + end, n) for n in os.listdir(tmp_path))


def test_a_program_that_cannot_start_is_an_error(podspy):
    r = targets.run([podspy, "record", "--", "/no/such/program"])
    assert r.returncode == 1
    assert r.stderr == b"Error: cannot run /no/such/program: No such file or directory\n"


@pytest.mark.parametrize("name", ["missing/o.svg", "."])
def test_an_unwritable_output_is_reported_before_sampling(name, podspy, tmp_path):
    argv = [podspy, "record", "-d", "60", "-o", f"{tmp_path}/{name}", "--", SUPPORTED[0].path, HERE + "/counts.py"]
    began = time.monotonic()
    r = targets.run(argv)
    assert r.returncode == 1 and re.fullmatch(rb"Error: cannot write .*\n", r.stderr), r.stderr
    assert time.monotonic() - began < 50  # of the 60 that it would record


def test_a_program_without_python_is_an_error(podspy):
    r = targets.run([podspy, "record", "--", "/bin/true"])
    assert r.returncode == 1 and b"Error: " in r.stderr


def test_the_program_keeps_its_ignored_signals(podspy, tmp_path):
    code = "print(open('/proc/self/status').read(), flush=True)\nimport time\ntime.sleep(0.7)"
    r = targets.run([podspy, "record", "-i", "-o", tmp_path / "o", "--", SUPPORTED[0].path, "-c", "exec(%r)" % code])
    plain = targets.run([SUPPORTED[0].path, "-c", "exec(%r)" % code])
    # Signals 32 and 33 are the C library's own: it takes 33 as soon as a program has two threads (signal(7)).
    libc = 1 << 31 | 1 << 32
    ignored = [int(re.search(rb"SigIgn:\s*(\S+)", x.stdout)[1], 16) & ~libc for x in (r, plain)]
    assert ignored[0] == ignored[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_program_runs_as_the_caller_of_sudo(podspy, tmp_path):
    code = "import os, time; print(os.getuid(), os.getgid(), os.getgroups(), flush=True); time.sleep(0.7)"
    env = dict(os.environ, SUDO_UID="65534", SUDO_GID="65534")
    argv = [podspy, "record", "-i", "-o", tmp_path / "o", "--", "/usr/bin/python3", "-c", code]
    r = targets.run(argv, env=env, cwd="/", preexec_fn=lambda: os.setgroups([0, 4, 20]))
    assert r.stdout == b"65534 65534 [65534]\n", r.stderr


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
@each_mode
def test_a_signal_ends_the_recording_and_writes_it(sig, flags, podspy, tmp_path):
    with targets.running([SUPPORTED[-1].path, HERE + "/counts.py"]) as t:
        for i in range(8):
            out = tmp_path / str(i)
            argv = [podspy, "record", "-p", str(t.pid), "-f", "raw", "-r", "500", "-o", out, *flags]
            p = subprocess.Popen(argv, stderr=subprocess.PIPE)
            assert b"Sampling process" in p.stderr.readline()
            time.sleep(0.05 + random.random() / 3)
            p.send_signal(sig)
            stderr = p.communicate(timeout=120)[1]
            assert p.returncode == 0, stderr
            assert b"count (" in out.read_bytes()
            assert targets.state_of(t.pid) in "RS"


@pytest.mark.parametrize("flags", [[], ["--blocking"]], ids=["default", "blocking"])
@each
def test_sigkill_leaves_nothing_stopped(python, flags, podspy, tmp_path):
    with targets.running([python.path, HERE + "/counts.py"]) as t:
        tids = [int(x) for x in os.listdir("/proc/%d/task" % t.pid)]
        for _ in range(25 if flags else 8):
            argv = [podspy, "record", "-p", str(t.pid), "-r", "1000", "-o", tmp_path / "o", *flags]
            p = subprocess.Popen(argv, stderr=subprocess.PIPE)
            assert b"Sampling process" in p.stderr.readline()
            time.sleep(random.random() / 10)
            p.kill()
            p.communicate()
            for tid in tids:
                targets.wait_for(lambda tid=tid: targets.state_of_thread(t.pid, tid) not in "Tt")
        t.drain()
        before = t.read_line()
        assert t.read_line() > before


def test_a_killed_podspy_ends_its_program(podspy, tmp_path):
    argv = [podspy, "record", "-o", tmp_path / "o", "--", SUPPORTED[0].path, HERE + "/counts.py"]
    p = subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    p.stderr.readline()
    children = open("/proc/%d/task/%d/children" % (p.pid, p.pid)).read().split()
    p.kill()
    p.communicate()
    assert len(children) == 1
    targets.wait_for(lambda: not os.path.exists("/proc/%s/exe" % children[0]) or targets.state_of(int(children[0])) == "Z")


@each_mode
def test_a_target_that_ends_is_written(flags, podspy, tmp_path):
    for i in range(6):
        with targets.running([SUPPORTED[i % len(SUPPORTED)].path, HERE + "/counts.py"]) as t:
            argv = [podspy, "record", "-p", str(t.pid), "-f", "raw", "-r", "1000", "-o", tmp_path / "o", *flags]
            p = subprocess.Popen(argv, stderr=subprocess.PIPE)
            assert b"Sampling process" in p.stderr.readline()
            time.sleep(random.random() / 4 + 0.05)
            t.process.kill()
            stderr = p.communicate(timeout=120)[1]
            assert p.returncode == 0 and b"the program has ended" in stderr


def test_exec_of_the_target_is_followed(podspy):
    code = (
        "import os, sys, time\nprint('ready', flush=True)\ntime.sleep(1)\n"
        "os.execv(sys.executable, [sys.executable, '-c', 'def after():\\n    while True: pass\\nafter()'])"
    )
    with targets.running([SUPPORTED[0].path, "-c", code]) as t:
        r = targets.run([podspy, "record", "-p", str(t.pid), "-d", "3", "-f", "raw", "-o", "-"])
        assert r.returncode == 0 and b"after (<string>:2)" in r.stdout


REFUSED = [
    (["-p", str(2**22 - 1)], 1, "there is no process"),
    (["-p", "x("], 2, "neither a process id nor a pattern"),
    ([], 2, "give either --pid PID, --all, or a program to run"),
    (["-p", "1", "--", "true"], 2, "give either"),
    (["-p", "1", "-r", "0"], 2, "--rate takes a number from 1 to 10000, not '0'"),
    (["-p", "1", "-r", "10001"], 2, "--rate"),
    (["-p", "1", "-r", "nan"], 2, "--rate"),
    (["-p", "1", "-d", "-1"], 2, "--duration"),
    (["-p", "1", "-d", "soon"], 2, "--duration"),
    (["-p", "1", "-f", "gif"], 2, "'gif' is not a format"),
    (["-p", "1", "-F", "--nolineno"], 2, "exclude each other"),
    (["-p", "1", "--blocking", "--nonblocking"], 2, "exclude each other"),
    (["-p", "1", "--what"], 2, "--what"),
]


@pytest.mark.parametrize("flags,code,words", REFUSED)
def test_wrong_options_are_refused(flags, code, words, podspy, tmp_path):
    r = targets.run([podspy, "record", *flags], cwd=tmp_path)
    assert (r.returncode, r.stdout) == (code, b"")
    assert words in r.stderr.decode()
    assert os.listdir(tmp_path) == []


def test_a_process_without_python_is_refused(podspy, tmp_path):
    with targets.running(["/bin/sleep", "600"], wait_line=False) as t:
        targets.wait_for(lambda: os.readlink("/proc/%d/exe" % t.pid).endswith("sleep"))
        r = targets.run([podspy, "record", "-p", str(t.pid)], cwd=tmp_path)
        assert r.returncode == 1 and b"there is no Python in process" in r.stderr


def test_an_unwritable_output_is_refused(podspy):
    with targets.running([SUPPORTED[0].path, HERE + "/counts.py"]) as t:
        for path in ("/no/such/folder/x.svg", "/dev/full"):
            r = targets.run([podspy, "record", "-p", str(t.pid), "-d", "0.3", "-o", path])
            assert r.returncode == 1 and b"cannot write " + path.encode() in r.stderr
