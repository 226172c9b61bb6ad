"""podspy dump --core: what a core file shows equals what the process said and what podspy saw of it
while it lived; damaged and foreign files are refused with a message and little memory."""

import json
import os
import pathlib
import re
import resource
import shutil
import signal
import struct
import subprocess
import tempfile

import pytest

import pythons
import targets

HERE = os.path.dirname(__file__)
PATTERN = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
VERSIONS = pythons.here()
SOME = next(p for p in VERSIONS if p.path.startswith("/usr/bin/") or p.minor >= (3, 9))
each = pytest.mark.parametrize("python", VERSIONS, ids=lambda p: p.id)
needs_gcore = pytest.mark.skipif(not shutil.which("gcore"), reason="gcore (Debian: gdb) is not here")
needs_kernel = pytest.mark.skipif(not re.fullmatch(r"[\w.-]+", PATTERN), reason="core_pattern is not a file name")


def dump(podspy, *args):
    r = targets.run([podspy, "dump", "-j", *args])
    assert r.returncode == 0, r.stderr
    return {t["thread_id"]: t for t in json.loads(r.stdout.decode())}


def at_rest(podspy, pid):
    """The dump of a process whose main thread has also come to wait."""
    def still():
        threads = dump(podspy, "-p", str(pid))
        main, = (t for t in threads.values() if t["os_thread_id"] == pid)
        return threads if not main["active"] and any(f["name"] == "hold" for f in main["frames"]) else None
    return targets.wait_for(still)


def gcore(pid, folder):
    subprocess.run(["gcore", "-o", folder / "g", str(pid)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return folder / ("g.%d" % pid)


def unlimited():
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def abort(target, folder):
    target.process.send_signal(signal.SIGABRT)
    target.process.wait()
    return next(folder.glob(PATTERN.split("%")[0] + "*"))


def same(core, said, live):
    assert len(said) == 4 and len(core) == 5
    for ident, frames in said.items():
        got = core[int(ident)]["frames"]
        assert [[f["name"], f["filename"], f["line"]] for f in got] == frames
    for ident, thread in live.items():
        for key in ("frames", "os_thread_id", "pid", "error", "truncated", "owns_gil"):
            assert core[ident][key] == thread[key]
        assert core[ident]["active"] is None


@needs_gcore
@each
def test_a_core_file_of_gdb_is_read(python, podspy, tmp_path):
    with targets.running([python.path, HERE + "/rest.py"]) as t:
        live = at_rest(podspy, t.pid)
        core = gcore(t.pid, tmp_path)
    same(dump(podspy, "--core", core), t.said, live)


@needs_kernel
@each
def test_a_core_file_of_the_kernel_is_read(python, podspy, tmp_path):
    with targets.running([python.path, HERE + "/rest.py"], cwd=tmp_path, preexec_fn=unlimited) as t:
        live = at_rest(podspy, t.pid)
        core = abort(t, tmp_path)
    same(dump(podspy, "--core", core), t.said, live)
    text = targets.run([podspy, "dump", "-c", core]).stdout.decode()
    assert text.startswith("Signal 6 (SIGABRT): %s\nProcess %d: %s" % (core, t.pid, python.path[:40]))
    assert "\nPython v%s (" % python.version in text
    assert '\nThread %d: "MainThread"\n    hold (dump/rest.py:' % t.pid in text.replace("Event.wait", "wait")\
        or re.search(r'\nThread %d: "MainThread"\n(    .*\n)*    hold \(' % t.pid, text)


@needs_gcore
def test_the_holder_of_the_gil_is_marked(podspy, tmp_path):
    script = tmp_path / "spin.py"
    script.write_text("print('ready', flush=True)\nwhile True: pass\n")
    with targets.running([SOME.path, script]) as t:
        core = gcore(t.pid, tmp_path)
    assert "Thread %d (gil): \"MainThread\"\n    <module> (" % t.pid in targets.run([podspy, "dump", "-c", core]).stdout.decode()


# --- what is not a good core ---


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A small core of a real Python: bytes, and its program headers {index: [type, flags, offset, vaddr, paddr,
    filesz, memsz, align]}."""
    if not shutil.which("gcore"):
        pytest.skip("gcore (Debian: gdb) is not here")
    with targets.running([SOME.path, "-c", "import time; print(1, flush=True); time.sleep(600)"]) as t:
        return gcore(t.pid, tmp_path_factory.mktemp("good")).read_bytes()


def headers(data):
    at, n = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    return [(at + 56 * i, list(struct.unpack_from("<IIQQQQQQ", data, at + 56 * i))) for i in range(n)]


def changed(data, change):
    """The core with its loads changed by change(i, fields)."""
    data = bytearray(data)
    i = 0
    for at, fields in headers(data):
        if fields[0] == 1:
            change(i, fields)
            struct.pack_into("<IIQQQQQQ", data, at, *fields)
            i += 1
    return bytes(data)


def attempt(podspy, path):
    """Exit code, standard error; the memory it took is bounded."""
    def little():
        resource.setrlimit(resource.RLIMIT_AS, (256 << 20, 256 << 20))

    p = subprocess.Popen([podspy, "dump", "--core", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         preexec_fn=None if os.environ.get("PODSPY_SANITIZE") else little)
    out, err = p.communicate(timeout=180)
    return p.returncode, out.decode(), err.decode()


def refused(podspy, tmp_path, data, message):
    path = tmp_path / "core"
    path.write_bytes(data)
    code, out, err = attempt(podspy, path)
    assert (code, out) == (1, "") and re.search(message, err), err
    assert err.startswith("Error: ") and err.count("\n") == 1 and str(path) in err


@pytest.mark.parametrize("data, message", [
    (b"", "too short"), (b"hello, world\n" * 100, "not an ELF core file"), (b"\x7fELF" + b"\0" * 200, "."),
    (b"\x28\xb5\x2f\xfd" + b"\0" * 200, r"compressed: unpack it first \(zstd -d\)"),
], ids=["empty", "text", "zeros", "zstd"])
def test_a_file_that_is_not_a_core_is_refused(podspy, tmp_path, data, message):
    refused(podspy, tmp_path, data, message)


def test_an_executable_is_refused(podspy, tmp_path):
    refused(podspy, tmp_path, pathlib.Path("/bin/true").read_bytes(), "not a core file of a process")


def test_a_core_of_another_machine_is_refused(podspy, tmp_path, good):
    refused(podspy, tmp_path, good[:18] + struct.pack("<H", 8) + good[20:], "another kind of machine")


def test_a_core_without_python_is_refused(podspy, tmp_path):
    if not shutil.which("gcore"):
        pytest.skip("gcore (Debian: gdb) is not here")
    p = subprocess.Popen(["sleep", "600"])
    try:
        core = gcore(p.pid, tmp_path)
    finally:
        p.kill()
        p.wait()
    code, out, err = attempt(podspy, core)
    assert (code, out) == (1, "") and "there is no Python in process %d" % p.pid in err


@pytest.mark.parametrize("path, message", [
    ("/nowhere/core", "cannot open"), ("/", "not a regular file"), ("/dev/null", "not a regular file")])
def test_a_missing_file_is_named(podspy, path, message):
    code, out, err = attempt(podspy, path)
    assert (code, out) == (1, "") and message in err


def test_a_core_without_its_notes_is_refused(podspy, tmp_path, good):
    """gdb writes its notes last, so nothing of such a file can be used."""
    for part in (100, 3000, len(good) // 2):
        refused(podspy, tmp_path, good[:part], "it ends before its (notes|program headers) do")


@needs_kernel
def test_a_core_truncated_by_the_kernel_is_read(podspy, tmp_path):
    with targets.running([SOME.path, "-c", "import time; print(1, flush=True); time.sleep(600)"], cwd=tmp_path,
                         preexec_fn=unlimited) as t:
        data = abort(t, tmp_path).read_bytes()
    path = tmp_path / "cut"
    path.write_bytes(data[:-4096])  # vdso and the like
    code, out, err = attempt(podspy, path)
    assert code == 0 and '"MainThread"\n    <module>' in out and re.search("is cut off: [0-9]+ bytes are missing", err)
    path.write_bytes(data[:len(data) // 10])
    code, out, err = attempt(podspy, path)
    assert (code, out) == (1, "") and "cut off" in err


def test_false_sizes_are_refused(podspy, tmp_path, good):
    def huge_memory(i, f):
        if i % 3 == 0:
            f[6] = 1 << 62 if i == 0 else f[6] + (1 << 40)

    def huge_file(i, f):
        f[5] = 1 << 60

    def wraps(i, f):
        f[6] = (1 << 64) - 1

    path = tmp_path / "core"
    for change in huge_memory, huge_file, wraps:
        path.write_bytes(changed(good, change))
        code, out, err = attempt(podspy, path)
        if code == 0:  # what the segments really hold is enough
            assert change is huge_file and '"MainThread"\n    <module>' in out
        else:
            assert code == 1 and err.startswith("Error: "), (change, err)


def test_overlapping_segments_are_refused(podspy, tmp_path, good):
    def onto_the_first(i, f):
        if i == 0:
            onto_the_first.at = f[3]
        if i == 1:
            f[3] = onto_the_first.at

    refused(podspy, tmp_path, changed(good, onto_the_first), "its segments overlap")


def test_segments_in_any_order_are_read(podspy, tmp_path, good):
    data = bytearray(good)
    loads = [h for h in headers(good) if h[1][0] == 1]
    for (at, _), (_, fields) in zip(loads, reversed(loads)):
        struct.pack_into("<IIQQQQQQ", data, at, *fields)
    path = tmp_path / "core"
    path.write_bytes(data)
    assert '"MainThread"\n    <module>' in attempt(podspy, path)[1]


def test_false_counts_are_refused(podspy, tmp_path, good):
    data = bytearray(good)
    struct.pack_into("<H", data, 56, 0xFFFF)  # PN_XNUM: the number stands in a section header
    refused(podspy, tmp_path, bytes(data), "number of segments|no segments|more than|program headers|segments")
    struct.pack_into("<H", data, 56, 0)
    refused(podspy, tmp_path, bytes(data), "no segments")


def without_files(data):
    """The core as if the files of Python that were mapped were not here."""
    for name in set(re.findall(rb"/[^\0]*/(?:lib)?python[23][^\0/]*(?=\0)", data)):
        data = data.replace(name + b"\0", b"/nowhere"[:len(name)] + name[8:] + b"\0")
    return data


@needs_kernel
@each
def test_a_core_without_its_mapped_files_is_read(python, podspy, tmp_path):
    """As for a process of a container: the symbols are not to be had, but the data is in the core."""
    with targets.running([python.path, HERE + "/rest.py"], cwd=tmp_path, preexec_fn=unlimited) as t:
        live = at_rest(podspy, t.pid)
        core = abort(t, tmp_path)
    core.write_bytes(without_files(core.read_bytes()))
    same(dump(podspy, "--core", core), t.said, live)


def roots():
    """Debian roots that tests/interpreters.sh made: containers, but for the namespaces."""
    cache = os.environ.get("PODSPY_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache", "podspy")
    return [(root, p.name) for root in sorted(pathlib.Path(cache, "roots").glob("*/")) if (root / ".podspy-ready").exists()
            for p in sorted(root.glob("usr/bin/python3.*")) if re.fullmatch(r"python3\.\d+", p.name)]


@needs_kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
@pytest.mark.parametrize("root, name", roots(), ids=lambda v: getattr(v, "name", v))
def test_a_core_of_a_process_in_a_chroot_is_read(root, name, podspy):
    """Its files are not here, or here are others of those names."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="podspy-test-", dir=root / "tmp"))
    try:
        shutil.copy(HERE + "/rest.py", folder)
        inside = "/tmp/" + folder.name
        with targets.running(["chroot", root, "sh", "-c", "cd %s && exec %s rest.py" % (inside, name)],
                             preexec_fn=unlimited) as t:
            live = at_rest(podspy, t.pid)
            core = abort(t, folder)
        same(dump(podspy, "--core", core), t.said, live)
    finally:
        shutil.rmtree(folder)


def test_a_replaced_mapped_file_is_not_read(podspy, tmp_path):
    """Whose first page is not the one in the core."""
    if not shutil.which("gcore"):
        pytest.skip("gcore (Debian: gdb) is not here")
    python = tmp_path / "python3"
    shutil.copy(os.path.realpath("/usr/bin/python3"), python)
    with targets.running([python, "-c", "import time; print(1, flush=True); time.sleep(600)"]) as t:
        core = gcore(t.pid, tmp_path)
        python.unlink()
        python.write_bytes(pathlib.Path("/bin/true").read_bytes().ljust(16 << 20, b"\0"))
    if shutil.which("strace"):
        opened = targets.run(["strace", "-f", "-e", "trace=openat,pread64", podspy, "dump", "--core", core])
        fd = re.search(rb'/proc/self/fd/\d+", [^)]*\) = (\d+)', opened.stderr)
        assert fd and len(re.findall(rb"pread64\(%s, " % fd[1], opened.stderr)) == 1
    code, out, err = attempt(podspy, core)
    assert (code == 0 and '"MainThread"\n    <module>' in out) or "the mapped file %s is another version" % python in err


@needs_kernel
def test_a_missing_mapped_file_is_named(podspy, tmp_path):
    """Neither the files nor the data: a core that holds nothing but stacks."""
    with targets.running([SOME.path, "-c", "import time; print(1, flush=True); time.sleep(600)"], cwd=tmp_path,
                         preexec_fn=unlimited) as t:
        pathlib.Path("/proc/%d/coredump_filter" % t.pid).write_text("0x10")
        data = abort(t, tmp_path).read_bytes()
    refused(podspy, tmp_path, without_files(data), "the mapped file /nowhere[^ ]*python[^ ]* is missing here")


ONLY_IN_FILES = """
import re, threading, time
def stand():
    pattern, lock = re.compile("a"), threading.Lock()
    print(1, flush=True)
    time.sleep(600)
stand()
"""


@needs_kernel
def test_the_files_of_a_core_are_found_below_a_sysroot(podspy, tmp_path):
    """Names of types lie in the program's file, which a core of the kernel leaves out."""
    work, sysroot = tmp_path / "w", tmp_path / "s"
    (tmp_path / "p").mkdir()
    work.mkdir()
    python = tmp_path / "p" / "python3"
    shutil.copy(os.path.realpath("/usr/bin/python3"), python)
    with targets.running([python, "-c", ONLY_IN_FILES], cwd=work, preexec_fn=unlimited) as t:
        core = abort(t, work)
    below = pathlib.Path(str(sysroot) + str(python))
    below.parent.mkdir(parents=True)
    python.rename(below)

    r = targets.run([podspy, "dump", "-l", "--core", core, "--sysroot", sysroot])
    assert (r.returncode, r.stderr) == (0, b"") and b"            pattern: <re.Pattern at 0x" in r.stdout
    r = targets.run([podspy, "dump", "--core", core])
    assert r.returncode == 1 and b"(--sysroot DIR): the mapped file %s" % bytes(python)[:40] in r.stderr
    below.write_bytes(pathlib.Path("/bin/true").read_bytes().ljust(1 << 20, b"\0"))
    r = targets.run([podspy, "dump", "--core", core.name, "--sysroot", sysroot], cwd=work)
    assert r.returncode == 1 and b"is another version here (its build id differs)" in r.stderr


def test_a_sysroot_that_is_not_there_is_an_error(podspy, tmp_path):
    r = targets.run([podspy, "dump", "--core", tmp_path / "core", "--sysroot", tmp_path / "nowhere"])
    assert r.returncode == 1 and b"cannot open the folder %s" % bytes(tmp_path / "nowhere") in r.stderr


@pytest.mark.parametrize("flags, message", [
    (["--core", "x", "-p", "1"], "exclude each other"),
    (["--core", "x", "--blocking"], "nothing runs in a core file"),
    (["--core", "x", "--nonblocking"], "nothing runs in a core file"),
    (["--core", "x", "-s"], "--subprocesses is for processes"),
    (["-p", "1", "--sysroot", "/"], "--sysroot is for core files"),
    ([], "--pid PID, or a core file: --core FILE")])
def test_wrong_options_are_usage_errors(podspy, flags, message):
    r = targets.run([podspy, "dump", *flags])
    assert r.returncode == 2 and message in r.stderr.decode()
