"""podspy dump, as a user calls it: every frame equal to what the target says of itself."""

import json
import os
import re
import tempfile

import pytest

import machine
import pythons
import targets

HERE = os.path.dirname(__file__)
# podspy is the same program under a sanitizer: there a few interpreters are enough.
SUPPORTED = pythons.few() if os.environ.get("PODSPY_SANITIZE") else pythons.supported()
each = pytest.mark.parametrize("python", SUPPORTED, ids=pythons.id_of)
ENV = dict(os.environ, PYTHONIOENCODING="utf-8", PYTHONDONTWRITEBYTECODE="1")
MODES = [[], ["--nonblocking"], ["--blocking"]]
# The columns of the table that is printed, and the shapes of still.py that count in each.
CASES = {
    "threads": None,  # all of them: each shape is a thread
    "recursion": ["recursion"],
    "generators": ["generators", "delegation", "comprehensions", "suppressed"],
    "async": ["coroutines", "async_generators"],
    "exec'd code": ["executed", "far_away", "long_name"],
    "unicode names": ["unicode_names", "latin_names", "surrogates"],
    "subinterpreters": ["subinterpreters"],
}


N_SHAPES = {(2, 7): 15, (3, 3): 17, (3, 4): 18, (3, 5): 19}  # else all of them


def place_parts(python):
    """What still.py imports, beside it."""
    for part in ("still3", "still35", "still36"):
        python.place("%s/%s.py" % (HERE, part))


def as_printed(text):
    """As podspy shows a str: lone surrogates cannot be UTF-8; very long ones are cut."""
    text = "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in text)
    return text if len(text) <= 4096 else text[:4096] + "\u2026"


def dump_json(podspy, pid, *flags):
    r = targets.run([podspy, "dump", "-j", "-p", str(pid), *flags])
    assert r.returncode == 0, r.stderr
    assert r.stderr == b""
    return json.loads(r.stdout.decode())


def wait_for_rest(pid, which=lambda tid: True):
    """Threads say that they are ready before they rest."""
    tids = [int(tid) for tid in os.listdir("/proc/%d/task" % pid)]
    targets.wait_for(lambda: all(targets.state_of_thread(pid, tid) == "S" for tid in tids if which(tid)), 60)


def test_the_versions_of_this_machine_are_covered():
    print("covered:", ", ".join(p.id for p in SUPPORTED))
    assert any(p.path == "/usr/bin/python3" and not p.root for p in SUPPORTED)


def differences(got, want):
    """How many frames differ, and of how many. What a target does not report of its frames is not compared."""
    keys = ["name", "filename", "line", "column", "end_line", "end_column"]
    want = [[as_printed(n), as_printed(f), *numbers] for n, f, *numbers in want]
    frames = [[f[k] for k in keys[:len(want[0])]] for f in got]
    return abs(len(frames) - len(want)) + sum(a != b for a, b in zip(frames, want)), len(want)


def note(table, python, shape, counts):
    for case, shapes in CASES.items():
        if shapes is None and shape != "subinterpreters" or shapes and shape in shapes:
            cell = table.setdefault(python.id, {}).setdefault(case, [0, 0])
            cell[0] += counts[0]
            cell[1] += counts[1]


@pytest.mark.parametrize("flags", MODES, ids=lambda f: "".join(f) or "default")
@each
def test_every_frame_equals_sys_current_frames(python, flags, podspy, matrix):
    place_parts(python)
    wrong = []
    with targets.running(python.argv(HERE + "/still.py"), env=ENV) as t:
        wait_for_rest(t.pid)
        threads = {e["os_thread_id"]: e for e in dump_json(podspy, t.pid, *flags)}
        assert len(t.said) == N_SHAPES.get(python.minor, 20)
        for tid, said in t.said.items():
            got = threads[int(tid)]
            counts = differences(got["frames"], said["frames"])
            note(matrix, python, said["shape"], counts)
            if counts[0]:
                wrong.append((said["shape"], counts, got["frames"][:5], said["frames"][:5]))
            assert got["thread_id"] == said["ident"]
            assert (got["active"], got["owns_gil"]) == (False, False), said["shape"]
            assert got["error"] is None and got["truncated"] is False and got["pid"] == t.pid
        assert wrong == []
        deep = next(s for s in t.said.values() if s["shape"] == "recursion")
        assert len(deep["frames"]) > 10000
        told = [f for said in t.said.values() for f in said["frames"]]
        spread = [f for f in told if f[4] > f[2]]
        assert bool(spread) == (python.minor >= (3, 11)) == all(f[3] and f[5] for f in told)
        assert threads[t.pid]["thread_name"] == "MainThread"


@pytest.mark.parametrize("python", [p for p in SUPPORTED if p.minor >= (3, 11)], ids=pythons.id_of)
def test_no_debug_ranges_means_no_columns(python, podspy):
    code = "print('ready', flush=True); import time; time.sleep(600)"
    with targets.running([*python.prefix, python.path, "-X", "no_debug_ranges", "-c", code]) as t:
        (frame,) = dump_json(podspy, t.pid)[0]["frames"]
        assert [frame[k] for k in ("line", "column", "end_line", "end_column")] == [1, 0, 1, 0]


@each
def test_text_has_a_line_for_each_frame(python, podspy, tmp_path):
    script = tmp_path / "naps.py"
    script.write_text(
        "import sys, time\n\ndef nap():\n    sys.stdout.write('ready\\n'); sys.stdout.flush()\n"
        "    time.sleep(600)\n\nnap()\n")
    with targets.running(python.argv(script)) as t:
        targets.wait_for(lambda: targets.state_of(t.pid) == "S")  # it says ready before it sleeps
        argv = open("/proc/%d/cmdline" % t.pid).read().split("\0")[:-1]
        out = targets.run([podspy, "dump", "--pid", hex(t.pid)]).stdout.decode()
        inside = python.place(script)
        short = inside.split("/")[-1]
        exe = os.readlink("/proc/%d/exe" % t.pid)
        assert out == (
            "Process %d: %s\nPython v%s (%s)\n\nThread %d (idle): \"MainThread\"\n"
            "    nap (%s:5)\n    <module> (%s:7)\n"
            % (t.pid, " ".join(argv), python.version, exe, t.pid, short, short)
        )
        full = targets.run([podspy, "dump", "--full-filenames", "-p", str(t.pid)]).stdout.decode()
        assert "    nap (%s:5)\n" % inside in full


@each
def test_states_of_threads_are_shown(python, podspy, tmp_path):
    script = tmp_path / "states.py"
    script.write_text(
        "import sys, threading, time\n"
        "def spin():\n"
        "    while True: pass\n"
        "t = threading.Thread(target=time.sleep, args=(600,))\n"
        "t.daemon = True\n"
        "t.start()\n"
        "sys.stdout.write('ready\\n'); sys.stdout.flush()\n"
        "spin()\n"
    )
    with targets.running(python.argv(script)) as t:
        wait_for_rest(t.pid, lambda tid: tid != t.pid)

        def marked():
            seen = []
            for _ in range(10):
                by_name = {e["thread_name"]: e for e in dump_json(podspy, t.pid)}
                main = by_name.pop("MainThread")
                seen.append((main["active"], main["owns_gil"]))
                assert [e["active"] for e in by_name.values()] == [False]
                assert main["frames"][0]["name"] == "spin"
            return seen.count((True, not python.free_threaded))

        # A free-threaded interpreter has no GIL that anybody could hold. Python 2 gives it up every 100 instructions.
        machine.measured("dumps of 10 in which it has its marks", marked, lambda n: n >= (8 if python.minor >= (3,) else 5))
        want = 'Thread %d (%s): "MainThread"' % (t.pid, "active" if python.free_threaded else "active+gil")
        targets.wait_for(lambda: want in targets.run([podspy, "dump", "-p", str(t.pid)]).stdout.decode())


@each
def test_threads_are_ordered(python, podspy):
    place_parts(python)
    with targets.running(python.argv(HERE + "/still.py"), env=ENV) as t:
        as_json = [e["os_thread_id"] for e in dump_json(podspy, t.pid)]
        text = targets.run([podspy, "dump", "-p", str(t.pid)]).stdout.decode()
        as_text = [int(x) for x in re.findall(r"^Thread (\d+) ", text, re.M)]
        assert as_text[0] == t.pid and as_json == as_text[::-1]


@each
def test_a_subinterpreter_and_its_caller_are_shown(python, podspy, matrix):
    with targets.running(python.argv(HERE + "/subinterpreter.py")) as t:
        if t.said == b"none":
            pytest.skip("%s cannot make a subinterpreter" % python.id)
        inside = t.read_line()
        targets.wait_for(lambda: targets.state_of(t.pid) == "S")
        threads = dump_json(podspy, t.pid)
        assert {e["os_thread_id"] for e in threads} == {t.pid}
        want = {frames[0][0]: frames for frames in (t.said, inside)}
        numbers = {e["frames"][0]["name"]: e["interpreter"] for e in threads}
        known = python.minor >= (3, 7)
        assert numbers == {"inside": 1 if known else None, "outside": 0 if known else None}
        text = targets.run([podspy, "dump", "-p", str(t.pid)]).stdout.decode()
        assert text.count("interpreter 1]\n    inside (") == known
        for e in threads:
            counts = differences(e["frames"], want[e["frames"][0]["name"]])
            note(matrix, python, "subinterpreters", counts)
            assert counts[0] == 0, (e["frames"], want)


@each
def test_the_caller_of_a_busy_subinterpreter_waits(python, podspy):
    with targets.running(python.argv(HERE + "/subinterpreter.py", "busy")) as t:
        if t.said == b"none":
            pytest.skip("%s cannot make a subinterpreter" % python.id)
        t.read_line()
        active = {e["frames"][-2]["name"]: e["active"] for e in dump_json(podspy, t.pid)}
        assert active == {"outside": False, "inside": True}
        text = targets.run([podspy, "dump", "-p", str(t.pid)]).stdout.decode()
        outer, inner = text.split("\nThread ")[1:]
        assert "(idle)" in outer and "outside (" in outer, text
        assert "(active" in inner and "inside (" in inner, text


@each
def test_a_pause_leaves_the_target_running(python, podspy, tmp_path):
    script = tmp_path / "counts.py"
    script.write_text(
        "import sys, time\n"
        "sys.stdout.write('ready\\n'); sys.stdout.flush()\n"
        "n = 0\n"
        "while True:\n"
        "    n += 1\n"
        "    if n % 1000000 == 0: sys.stdout.write('%d\\n' % n); sys.stdout.flush()\n"
    )
    with targets.running(python.argv(script)) as t:
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


def test_a_missing_process_is_an_error(podspy):
    check_refused(podspy, 2**22 - 1, "there is no process %d" % (2**22 - 1))


def test_a_process_without_python_is_an_error(podspy):
    with targets.running(["/bin/sleep", "600"], wait_line=False) as t:
        targets.wait_for(lambda: os.readlink("/proc/%d/exe" % t.pid).endswith("sleep"))
        check_refused(podspy, t.pid, "there is no Python in process %d" % t.pid)


def test_a_zombie_is_an_error(podspy):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        targets.wait_for(lambda: targets.state_of(pid) == "Z")
        check_refused(podspy, pid, "zombie")
    finally:
        os.waitpid(pid, 0)


def test_a_kernel_thread_is_an_error(podspy):
    if not os.path.exists("/proc/2/stat") or os.path.exists("/proc/2/exe"):
        pytest.skip("no kernel threads are visible here")
    check_refused(podspy, 2, "kernel thread")


def as_nobody():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become someone else")
@pytest.mark.parametrize("command", ["dump", "record"])
def test_a_denied_read_is_an_error(command, podspy, tmp_path):
    # Readable for everybody: the build folder may not be.
    program = tmp_path / "podspy"
    program.write_bytes(podspy.read_bytes())
    program.chmod(0o755)
    for folder in [tmp_path, *tmp_path.parents]:
        folder.chmod(0o755)
        if str(folder.parent) == tempfile.gettempdir():
            break
    with targets.running(["/usr/bin/python3", "-c", "print('ready', flush=True); import time; time.sleep(600)"]) as t:
        output = ["-o", "/dev/null"] if command == "record" else []
        r = targets.run([program, command, "-p", str(t.pid), *output], preexec_fn=as_nobody, cwd="/")
        assert r.returncode == 1
        assert b"not allowed to read process" in r.stderr
        assert b"sudo podspy" in r.stderr or b"docker: --user 0" in r.stderr  # in a container


BAD = [
    ([], "give a process"),
    (["-p", "x("], "neither a process id nor a pattern"),
    (["-p", "-3"], "'-3' is not a process id"),
    (["-p", "0"], "'0' is not a process id"),
    (["-p", "99999999999999999999"], "is not a process id"),
    (["-p", "1", "--colour"], "--colour"),
    (["-p", "1", "extra"], "'extra' is not expected"),
    (["-p", "1", "--blocking", "--nonblocking"], "exclude each other"),
]


@pytest.mark.parametrize("flags,words", BAD)
def test_wrong_options_are_usage_errors(flags, words, podspy):
    r = targets.run([podspy, "dump", *flags])
    assert r.returncode == 2 and r.stdout == b""
    assert words in r.stderr.decode()


def test_help_lists_the_commands(podspy):
    assert targets.run([podspy, "dump", "--help"]).returncode == 0
    assert targets.run([podspy]).returncode == 2
    version = targets.run([podspy, "--version"]).stdout
    assert version.startswith(b"podspy ")
    assert targets.run([podspy, "agent", "--version"]).stdout == version
    assert b"not a command" in targets.run([podspy, "nonsense"]).stderr


def test_full_disk_is_an_error(podspy):
    code = "print('ready', flush=True); import time; time.sleep(600)"
    with targets.running(["/usr/bin/python3", "-c", code]) as t, open("/dev/full", "w") as full:
        r = targets.subprocess.run([podspy, "dump", "-p", str(t.pid)], stdout=full, stderr=targets.subprocess.PIPE)
        assert r.returncode == 1 and b"cannot write" in r.stderr
