"""Where record writes to, what it says of it, and when it says so."""

import gzip
import json
import os
import re
import signal
import subprocess
import time
import xml.etree.ElementTree

import pytest

import pythons
import targets

ONE = pythons.few()[-1]
FORMATS = ["flamegraph", "svg", "speedscope", "chrometrace", "raw", "collapsed", "pprof", "json", "compact"]
NAPS = "import sys, time; sys.stdout.write('ready\\n'); sys.stdout.flush(); time.sleep(600)"


def refused(podspy, tmp_path, output, *flags):
    """What record says of an output before it starts the program, which would leave a file."""
    ran = tmp_path / "ran"
    r = targets.run([podspy, "record", "-o", output, *flags, "--", "/usr/bin/touch", ran], cwd=tmp_path)
    assert not ran.exists()
    return r.returncode, r.stderr.decode()


def test_an_empty_output_is_refused(podspy, tmp_path):
    assert refused(podspy, tmp_path, "") == (
        2, "Error: --output is empty; give a file, or - for standard output\n")


@pytest.mark.parametrize("name,why", [
    ("missing/o.svg", "its folder does not exist; create it, or give another --output"),
    (".", "it is a folder; give --output a file"),
    ("x" * 300, "File name too long; give another --output"),
    ("file/o.svg", "Not a directory; give another --output")])
def test_folders_that_cannot_hold_a_file_are_refused(name, why, podspy, tmp_path):
    (tmp_path / "file").write_text("")
    code, said = refused(podspy, tmp_path, tmp_path / name)
    assert code == 1 and re.fullmatch(r"Error: cannot write .*: %s\n" % re.escape(why), said)


def test_a_folder_that_only_seems_writable_is_refused(podspy, tmp_path):
    code, said = refused(podspy, tmp_path, "/proc/o.svg")  # writable to root, as access(2) has it
    assert code == 1 and "cannot write /proc/o.svg: " in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_read_only_file_system_is_refused(podspy, tmp_path):
    script = ("mount -t tmpfs -o ro none %s/mnt 2>/dev/null || exit 77; exec %s record -o %s/mnt/o.svg -- touch %s/ran"
              % (tmp_path, podspy, tmp_path, tmp_path))
    (tmp_path / "mnt").mkdir()
    r = targets.run(["unshare", "-m", "sh", "-c", script])
    if r.returncode == 77 or b"unshare" in r.stderr:
        pytest.skip("no mounts here")
    assert r.returncode == 1 and b"Read-only file system; give another --output" in r.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_a_folder_of_another_user_is_refused(podspy, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o755)
    for path in [tmp_path, *tmp_path.parents]:
        if path.stat().st_uid == 0 and path != path.parent and "pytest" in path.name:
            path.chmod(0o755)
    # Not by its path: the build may stand where another user gets not.
    with open(podspy, "rb") as program:
        r = subprocess.run(["/proc/self/fd/%d" % program.fileno(), "record", "-o", folder / "o.svg", "--", "true"],
                           capture_output=True, pass_fds=[program.fileno()], user=65534, group=65534, extra_groups=[],
                           timeout=60)
    assert r.returncode == 1 and b"Permission denied; give another --output" in r.stderr, r.stderr


def test_checking_an_output_leaves_no_file(podspy, tmp_path):
    old = tmp_path / "old"
    old.write_text("old")
    for output in (old, tmp_path / "new"):
        r = targets.run([podspy, "record", "-o", output, "--", "/bin/true"])
        assert b"before it was sampled" in r.stderr
    assert os.listdir(tmp_path) == ["old"] and old.read_text() == "old"


def test_a_full_device_fails_when_written(podspy):
    with targets.running([ONE.path, "-c", NAPS]) as t:
        r = targets.run([podspy, "record", "-p", str(t.pid), "-d", "0.3", "-i", "-o", "/dev/full"])
        assert r.returncode == 1 and b"Sampling process" in r.stderr
        assert r.stderr.endswith(b"Error: cannot write /dev/full: No space left on device\n")
        assert targets.run([podspy, "record", "-p", str(t.pid), "-d", "0.3", "-i", "-o", "/dev/null"]).returncode == 0


# --- formats ---

def test_a_wrong_format_lists_the_known_formats(podspy, tmp_path):
    code, said = refused(podspy, tmp_path, "o", "-f", "gif")
    assert (code, said) == (2, "Error: 'gif' is not a format; there are %s\n" % ", ".join(FORMATS))
    r = targets.run([podspy, "record", "--help"])
    assert ", ".join(FORMATS) in re.sub(r"\s+", " ", r.stdout.decode())


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_written(name, podspy, tmp_path):
    with targets.running([ONE.path, "-c", NAPS]) as t:
        r = targets.run([podspy, "record", "-p", str(t.pid), "-i", "-d", "0.3", "-f", name, "-o", tmp_path / "o"])
        assert r.returncode == 0 and b"Wrote %s data" % name.encode() in r.stderr
        data = (tmp_path / "o").read_bytes()
        if name == "pprof":
            data = gzip.decompress(data)
        assert b"<module>" in data.replace(b"&lt;", b"<").replace(b"&gt;", b">")


# --- nobody reads ---

@pytest.mark.parametrize("name", ["speedscope", "raw"])
def test_a_closed_pipe_prints_no_message(name, podspy):
    with targets.running([ONE.path, "-c", NAPS]) as t:
        r = targets.run(["bash", "-c", targets.TO_NOBODY, "-", podspy, "record", "-p", str(t.pid),
                         "-i", "-d", "0.5", "-f", name, "-o", "-"])
        assert r.stdout == b"141\n"  # as of any program that writes to nobody
        assert re.fullmatch(rb"Sampling process .*\n", r.stderr)


# --- nothing to show ---

NONE = "No samples to show: every thread was waiting in each of the %s taken; "


@pytest.mark.parametrize("flags,cure", [([], "--idle shows them."), (["-g"], "--idle without --gil shows them."),
                                        (["-g", "-i"], None)], ids=lambda x: "".join(x or "") if x != [] else "default")
def test_an_empty_profile_says_why(flags, cure, podspy, tmp_path):
    if not cure:
        want = (r"No samples to show: no thread held the interpreter's lock \(GIL\) in any of the \d+ taken; "
                r"without --gil they are shown\.")
    else:
        want = re.escape(NONE + cure).replace("%s", r"\d+")
    with targets.running([ONE.path, "-c", NAPS]) as t:
        targets.wait_for(lambda: targets.state_of(t.pid) == "S")
        time.sleep(0.2)
        for name in ("flamegraph", "speedscope", "raw"):
            out = tmp_path / name
            r = targets.run([podspy, "record", *flags, "-d", "0.5", "-p", str(t.pid), "-f", name, "-o", out])
            assert r.returncode == 0, r.stderr
            assert re.search(r"^%s$" % want, r.stderr.decode(), re.M), r.stderr
    svg = xml.etree.ElementTree.parse(tmp_path / "flamegraph").getroot()
    (text,) = [e.text for e in svg.iter() if e.get("id") == "empty"]
    assert re.fullmatch(want, text)
    assert re.search(want, json.loads((tmp_path / "speedscope").read_text())["name"])
    assert (tmp_path / "raw").read_bytes() == b""


# --- names of the target's ---

HOSTILE = "a\nThread 1 (active): \"forged\"\x1b[2J\x9b31m\u202etxt\u2066;;b 9\u2028c"


def test_names_cannot_forge_lines_or_frames(podspy, tmp_path):
    code = ("import time\nns = {}\nexec(compile('def f():\\n while True: pass\\n', %r, 'exec'), ns)\n"
            "print('ready', flush=True)\nns['f']()" % HOSTILE)
    with targets.running([ONE.path, "-c", code, "arg\n\x1b[31m"]) as t:
        found = {}
        for name in ("raw", "flamegraph", "speedscope", "json"):
            out = tmp_path / name
            r = targets.run([podspy, "record", "-d", "0.4", "-p", str(t.pid), "-t", "-f", name, "-o", out,
                             "--full-filenames"])
            assert r.returncode == 0 and not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", r.stderr)
            found[name] = out.read_text()
    lines = found["raw"].splitlines()  # of Python, which parts lines at more characters than "\n"
    assert len(lines) == found["raw"].count("\n")
    for line in lines:
        assert re.fullmatch(r"thread \(\d+\): MainThread;[^;]*(;[^;]*)? \d+", line), line
        assert not re.search("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]", line)
    assert xml.etree.ElementTree.fromstring(found["flamegraph"].encode()) is not None
    files = [f.get("file") for f in json.loads(found["speedscope"])["shared"]["frames"]]
    assert HOSTILE in files  # whole and unchanged, for a reader of JSON
    for name in ("json", "speedscope"):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", found[name])


# --- closed descriptors ---

@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&-", "2>&-", "<&-"])
def test_the_output_never_gets_a_standard_descriptor(closed, podspy, tmp_path):
    out = tmp_path / "o"
    with targets.running([ONE.path, "-c", NAPS]) as t:
        r = targets.run(["bash", "-c", 'exec "$@" ' + closed, "-", podspy, "record", "-i", "-f", "raw", "-d", "0.4",
                         "-p", str(t.pid), "-o", out])
        assert r.returncode == 0
        assert re.fullmatch(r"(.* \d+\n)+", out.read_text())
        assert "Sampling" not in out.read_text()


def test_the_program_inherits_closed_descriptors(podspy, tmp_path):
    code = ("import os, time\nopen(%r, 'w').write(' '.join(sorted(os.listdir('/proc/self/fd'))))\n"
            "time.sleep(0.5)" % str(tmp_path / "fds"))
    found = []
    for prefix in ([], [podspy, "record", "-i", "-o", tmp_path / "o", "--"]):
        targets.run(["bash", "-c", 'exec "$@" <&- >&- 2>&-', "-", *prefix, "/usr/bin/python3", "-c", code])
        found.append((tmp_path / "fds").read_text())
    assert found[0] == found[1]


def test_a_closed_standard_output_is_an_error(podspy):
    with targets.running([ONE.path, "-c", NAPS]) as t:
        r = targets.run(["bash", "-c", 'exec "$@" >&-', "-", podspy, "record", "-i", "-d", "0.3", "-p", str(t.pid), "-o", "-"])
        assert r.returncode == 1 and b"cannot write to standard output: Bad file descriptor" in r.stderr


def test_a_signal_during_writing_does_no_harm(podspy, tmp_path):
    """A pipe that nobody empties for a while: the write is interrupted and continues."""
    with targets.running([ONE.path, "-c", NAPS]) as t:
        p = subprocess.Popen([podspy, "record", "-i", "-p", str(t.pid), "-o", "-"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        assert b"Sampling process" in p.stderr.readline()
        time.sleep(0.5)
        for _ in range(3):
            p.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        out, _ = p.communicate(timeout=20)
        assert p.returncode == 0 and out.endswith(b"</svg>\n")
