"""podspy dump, as a user calls it: every frame equal to what the target says of itself."""

import json
import os
import re

import pytest

import pythons
import targets

HERE = os.path.dirname(__file__)
SUPPORTED = pythons.supported()
each = pytest.mark.parametrize("python", SUPPORTED, ids=lambda p: p.id)
MODES = [[], ["--nonblocking"], ["--blocking"]]


def as_printed(text):
    """As podspy shows a str: lone surrogates cannot be UTF-8; very long ones are cut."""
    text = "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in text)
    return text if len(text) <= 4096 else text[:4096] + "\u2026"


def dump_json(podspy, pid, *flags):
    r = targets.run([podspy, "dump", "-j", "-p", str(pid), *flags])
    assert r.returncode == 0, r.stderr
    assert r.stderr == b""
    return json.loads(r.stdout.decode())


def test_covered():
    print("covered:", ", ".join(p.id for p in SUPPORTED))
    assert SUPPORTED


@pytest.mark.parametrize("flags", MODES, ids=lambda f: "".join(f) or "default")
@each
def test_every_frame_equals_the_targets_own_view(python, flags, podspy):
    with targets.running([python.path, HERE + "/still.py"]) as t:
        threads = {e["os_thread_id"]: e for e in dump_json(podspy, t.pid, *flags)}
        assert len(t.said) == 17
        for tid, said in t.said.items():
            got = threads[int(tid)]
            want = [[as_printed(n), as_printed(f), line] for n, f, line in said["frames"]]
            frames = [[f["name"], f["filename"], f["line"]] for f in got["frames"]]
            assert frames == want, said["shape"]
            assert got["thread_id"] == said["ident"]
            assert got["active"] is False and got["owns_gil"] is False
            assert got["error"] is None and got["truncated"] is False and got["pid"] == t.pid
        deep = next(s for s in t.said.values() if s["shape"] == "deep")
        assert len(deep["frames"]) > 10000
        assert threads[t.pid]["thread_name"] == "MainThread"


@each
def test_text(python, podspy, tmp_path):
    script = tmp_path / "naps.py"
    script.write_text("import time\n\ndef nap():\n    print('ready', flush=True)\n    time.sleep(600)\n\nnap()\n")
    with targets.running([python.path, script]) as t:
        out = targets.run([podspy, "dump", "--pid", hex(t.pid)]).stdout.decode()
        short = "/".join(script.parts[-2:])
        exe = os.readlink("/proc/%d/exe" % t.pid)
        assert out == (
            "Process %d: %s %s\nPython v%s (%s)\n\nThread %d (idle): \"MainThread\"\n"
            "    nap (%s:5)\n    <module> (%s:7)\n"
            % (t.pid, python.path, script, python.version, exe, t.pid, short, short)
        )
        full = targets.run([podspy, "dump", "--full-filenames", "-p", str(t.pid)]).stdout.decode()
        assert "    nap (%s:5)\n" % script in full


@each
def test_states(python, podspy, tmp_path):
    script = tmp_path / "states.py"
    script.write_text(
        "import threading, time\n"
        "def spin():\n"
        "    while True: pass\n"
        "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        "time.sleep(0.5)\n"
        "print('ready', flush=True)\n"
        "spin()\n"
    )
    with targets.running([python.path, script]) as t:
        seen = []
        for _ in range(10):
            by_name = {e["thread_name"]: e for e in dump_json(podspy, t.pid)}
            main = by_name.pop("MainThread")
            seen.append((main["active"], main["owns_gil"]))
            assert [e["active"] for e in by_name.values()] == [False]
            assert main["frames"][0]["name"] == "spin"
        assert seen.count((True, True)) >= 8
        text = targets.run([podspy, "dump", "-p", str(t.pid)]).stdout.decode()
        assert 'Thread %d (active+gil): "MainThread"' % t.pid in text


@each
def test_order_of_threads(python, podspy):
    with targets.running([python.path, HERE + "/still.py"]) as t:
        as_json = [e["os_thread_id"] for e in dump_json(podspy, t.pid)]
        text = targets.run([podspy, "dump", "-p", str(t.pid)]).stdout.decode()
        as_text = [int(x) for x in re.findall(r"^Thread (\d+) ", text, re.M)]
        assert as_text[0] == t.pid and as_json == as_text[::-1]


@each
def test_subinterpreter_and_its_caller(python, podspy):
    with targets.running([python.path, HERE + "/subinterpreter.py"]) as t:
        threads = dump_json(podspy, t.pid)
        names = [[f["name"] for f in e["frames"]] for e in threads]
        assert ["inside", "<module>"] in names and ["outside", "<module>"] in names
        assert {e["os_thread_id"] for e in threads} == {t.pid}


@each
def test_a_pause_leaves_the_target_running(python, podspy, tmp_path):
    script = tmp_path / "counts.py"
    script.write_text(
        "import sys, time\n"
        "print('ready', flush=True)\n"
        "n = 0\n"
        "while True:\n"
        "    n += 1\n"
        "    if n % 1000000 == 0: print(n, flush=True)\n"
    )
    with targets.running([python.path, script]) as t:
        for _ in range(20):
            dump_json(podspy, t.pid, "--blocking")
            assert targets.state_of(t.pid) in "RS"
        before = t.read_line()
        assert t.read_line() > before


def check_refused(podspy, pid, *words):
    r = targets.run([podspy, "dump", "-p", str(pid)])
    text = r.stderr.decode()
    assert r.returncode == 1 and r.stdout == b"", text
    assert text.startswith("Error: ") and text.count("\n") == 1
    for word in words:
        assert word in text
    return text


def test_no_such_process(podspy):
    check_refused(podspy, 2**22 - 1, "there is no process %d" % (2**22 - 1))


def test_not_python(podspy):
    with targets.running(["/bin/sleep", "600"], wait_line=False) as t:
        targets.wait_for(lambda: os.readlink("/proc/%d/exe" % t.pid).endswith("sleep"))
        check_refused(podspy, t.pid, "there is no Python in process %d" % t.pid)


def test_zombie(podspy):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        targets.wait_for(lambda: targets.state_of(pid) == "Z")
        check_refused(podspy, pid, "zombie")
    finally:
        os.waitpid(pid, 0)


def test_kernel_thread(podspy):
    if not os.path.exists("/proc/2/stat") or os.path.exists("/proc/2/exe"):
        pytest.skip("no kernel threads are visible here")
    check_refused(podspy, 2, "kernel thread")


@pytest.mark.parametrize("python", pythons.unsupported(), ids=lambda p: getattr(p, "id", "none here"))
def test_unknown_version_is_named(python, podspy):
    code = "import sys, time; sys.stdout.write('ready\\n'); sys.stdout.flush(); time.sleep(600)"
    with targets.running([python.path, "-c", code]) as t:
        check_refused(podspy, t.pid, "Python %s is not supported" % python.version)


def as_nobody():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become someone else")
@pytest.mark.parametrize("command", ["dump", "record"])
def test_permission_denied(command, podspy, tmp_path):
    # Readable for everybody: the build folder may not be.
    program = tmp_path / "podspy"
    program.write_bytes(podspy.read_bytes())
    program.chmod(0o755)
    for folder in [tmp_path, *list(tmp_path.parents)[:2]]:
        folder.chmod(0o755)
    with targets.running([SUPPORTED[0].path, "-c", "print('ready', flush=True); import time; time.sleep(600)"]) as t:
        r = targets.run([program, command, "-p", str(t.pid)], preexec_fn=as_nobody, cwd="/")
        assert r.returncode == 1
        assert b"not allowed to read process" in r.stderr and b"sudo podspy" in r.stderr


BAD = [
    ([], "give a process"),
    (["-p", "x"], "'x' is not a process id"),
    (["-p", "-3"], "'-3' is not a process id"),
    (["-p", "0"], "'0' is not a process id"),
    (["-p", "99999999999999999999"], "is not a process id"),
    (["-p", "1", "--colour"], "--colour"),
    (["-p", "1", "extra"], "'extra' is not expected"),
    (["-p", "1", "--blocking", "--nonblocking"], "exclude each other"),
]


@pytest.mark.parametrize("flags,words", BAD)
def test_bad_flags(flags, words, podspy):
    r = targets.run([podspy, "dump", *flags])
    assert r.returncode == 2 and r.stdout == b""
    assert words in r.stderr.decode()


def test_help_and_commands(podspy):
    assert targets.run([podspy, "dump", "--help"]).returncode == 0
    assert targets.run([podspy]).returncode == 2
    version = targets.run([podspy, "--version"]).stdout
    assert version.startswith(b"podspy ")
    assert targets.run([podspy, "agent", "--version"]).stdout == version
    assert b"not a command" in targets.run([podspy, "nonsense"]).stderr


def test_full_disk_is_an_error(podspy):
    code = "print('ready', flush=True); import time; time.sleep(600)"
    with targets.running([SUPPORTED[0].path, "-c", code]) as t, open("/dev/full", "w") as full:
        r = targets.subprocess.run([podspy, "dump", "-p", str(t.pid)], stdout=full, stderr=targets.subprocess.PIPE)
        assert r.returncode == 1 and b"cannot write" in r.stderr
