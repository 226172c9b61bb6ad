"""The files that record writes while it runs: at SIGUSR1, with --rotate, and on a full disk."""

import os
import re
import signal
import subprocess
import time

import pytest

import targets

WORK = "def work():\n    while True: sum(range(500))\nprint('ready', flush=True)\nwork()"
HERE = os.path.dirname(__file__)


@pytest.fixture(scope="module")
def busy():
    with targets.running(["/usr/bin/python3", "-c", WORK]) as t:
        yield t.pid


def count_of(path):
    return sum(int(line.rpartition(" ")[2]) for line in path.read_text().splitlines())


def written(stderr):
    """(name, samples) of each file that it says it wrote."""
    return [(os.path.basename(name), int(n))
            for name, n in re.findall(r"^Wrote \w+ data to '(.*)'\. Samples: (\d+) Errors: \d+$", stderr, re.M)]


class Recording:
    """podspy record of a process, with stderr by lines."""

    def __init__(self, podspy, pid, *flags):
        argv = [podspy, "record", "-i", "-p", str(pid), *map(str, flags)]
        self.process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        self.said = self.process.stderr.readline()
        assert "Sampling process" in self.said, self.said

    def read_line(self):
        self.said += self.process.stderr.readline()
        return self.said.splitlines()[-1]

    def end(self, sig=signal.SIGINT):
        self.process.send_signal(sig)
        self.said += self.process.communicate(timeout=30)[1]
        return self.process.returncode


def test_sigusr1_writes_and_the_recording_continues(busy, podspy, tmp_path):
    out = tmp_path / "o.raw"
    r = Recording(podspy, busy, "-f", "raw", "-o", out)
    counts = []
    for _ in range(2):
        time.sleep(0.4)
        r.process.send_signal(signal.SIGUSR1)
        assert "Wrote raw data" in r.read_line()
        counts.append(count_of(out))
    assert r.end() == 0
    counts.append(count_of(out))
    assert 0 < counts[0] < counts[1] <= counts[2]
    assert [n for _, n in written(r.said)] == counts
    assert os.listdir(tmp_path) == ["o.raw"]  # no temporary file is left
    # What the kernel counted is not counted twice.
    assert float(re.search(r"kernel counted ([\d.]+) %", r.said)[1]) < 150


def test_sigusr1_leaves_standard_output_for_the_end(busy, podspy):
    r = subprocess.Popen([podspy, "record", "-i", "-f", "raw", "-o", "-", "-p", str(busy)], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    assert "Sampling process" in r.stderr.readline()
    time.sleep(0.3)
    r.send_signal(signal.SIGUSR1)
    assert r.stderr.readline() == "podspy: not written yet: standard output gets the profile at the end\n"
    r.send_signal(signal.SIGTERM)
    out, said = r.communicate(timeout=30)
    assert sum(int(line.rpartition(" ")[2]) for line in out.splitlines()) == written(said)[0][1]


def test_rotated_files_have_each_sample_once(busy, podspy, tmp_path):
    r = targets.run([podspy, "record", "-i", "-p", str(busy), "-d", "1.9", "--rotate", "0.6", "-f", "raw",
                     "-o", tmp_path / "o.raw"])
    said = r.stderr.decode()
    assert r.returncode == 0, said
    files = written(said)
    assert [name for name, _ in files] == ["o.%04d.raw" % (i + 1) for i in range(len(files))] and len(files) in (3, 4)
    assert sorted(os.listdir(tmp_path)) == [name for name, _ in files]
    assert [count_of(tmp_path / name) for name, _ in files] == [n for _, n in files]


def test_each_rotated_speedscope_file_has_its_own_order(podspy, tmp_path):
    import json
    with targets.running(["/usr/bin/python3", HERE + "/counts.py"]) as t:
        r = targets.run([podspy, "record", "-p", str(t.pid), "-d", "1.5", "--rotate", "0.5", "-f", "speedscope", "-r", "200",
                         "-o", tmp_path / "o.json"])
    assert r.returncode == 0, r.stderr
    for name in os.listdir(tmp_path):
        scope = json.loads((tmp_path / name).read_text())
        assert "merged" not in scope["name"]
        for p in scope["profiles"]:
            assert len(p["samples"]) == len(p["weights"]) and p["endValue"] < 3


@pytest.mark.parametrize("given,first", [("o.pb.gz", "o.0001.pb.gz"), ("dir.d/o", "dir.d/o.0001"), (".o", ".o.0001"),
                                         ("o.x", "o.0001.x")])
def test_the_number_stands_before_the_extension(given, first, busy, podspy, tmp_path):
    (tmp_path / "dir.d").mkdir()
    r = targets.run([podspy, "record", "-i", "-p", str(busy), "-d", "0.3", "--rotate", "9", "-f", "pprof",
                     "-o", tmp_path / given])
    assert r.returncode == 0 and (tmp_path / first).is_file() and not (tmp_path / given).exists()


@pytest.mark.parametrize("output", ["-", "/dev/null"])
def test_rotate_needs_a_file(output, busy, podspy):
    r = targets.run([podspy, "record", "-p", str(busy), "--rotate", "1", "-o", output])
    assert r.returncode == 2 and b"is not the name of a file; give another --output" in r.stderr


def test_files_keep_their_owner_mode_and_link(busy, podspy, tmp_path):
    old = tmp_path / "old"
    old.write_text("old")
    old.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(old, 65534, 65534)
    was = old.stat()
    (tmp_path / "link").symlink_to("old")
    r = targets.run([podspy, "record", "-i", "-p", str(busy), "-d", "0.3", "-f", "raw", "-o", tmp_path / "link"])
    assert r.returncode == 0 and (tmp_path / "link").is_symlink() and b"work" in old.read_bytes()
    now = old.stat()
    assert (now.st_mode, now.st_uid, now.st_gid) == (was.st_mode, was.st_uid, was.st_gid)


def test_a_new_file_has_the_mode_of_the_umask(busy, podspy, tmp_path):
    r = targets.run([podspy, "record", "-i", "-p", str(busy), "-d", "0.3", "-o", tmp_path / "o"], umask=0o027)
    assert r.returncode == 0 and (tmp_path / "o").stat().st_mode & 0o777 == 0o640


FULL = """
mount -t tmpfs -o size=64k none "$1" 2>/dev/null || exit 77
echo old > "$1/o.raw"
"$2" record -i -p "$3" --rotate 0.4 -f raw -o "$1/o.raw" 2> "$4" & podspy=$!
sleep 1; dd if=/dev/zero of="$1/fill" 2>/dev/null; sleep 1.2
rm "$1/fill"; sleep 1
kill -INT $podspy; wait $podspy; status=$?
cat "$1"/o.0*.raw > "$5"; ls "$1" >&2; exit $status
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
def test_nothing_is_lost_while_the_disk_is_full(busy, podspy, tmp_path):
    (tmp_path / "disk").mkdir()
    r = targets.run(["unshare", "-m", "bash", "-c", FULL, "-", tmp_path / "disk", podspy, str(busy), tmp_path / "said",
                     tmp_path / "all"])
    if r.returncode == 77 or b"unshare" in r.stderr:
        pytest.skip("no mounts here")
    said = (tmp_path / "said").read_text()
    assert r.returncode == 0, said
    assert "No space left on device" in said and "the next file will have its samples" in said
    assert sum(n for _, n in written(said)) == count_of(tmp_path / "all")
    assert b".tmp." not in r.stderr


# --- the line on a terminal ---

def test_a_terminal_gets_a_progress_line(busy, podspy, tmp_path):
    r = targets.run(["script", "-qec", "%s record -i -p %d -d 1 -f raw -o %s/o" % (podspy, busy, tmp_path), "/dev/null"])
    assert re.search(rb"\r\x1b\[Kpodspy> [1-9]\d* samples, \d+ errors, [\d.]+% late, 0:00:01 left", r.stdout), r.stdout


def test_a_file_gets_no_progress_line(busy, podspy, tmp_path):
    r = targets.run([podspy, "record", "-i", "-p", str(busy), "-d", "0.5", "-f", "raw", "-o", tmp_path / "o"])
    assert b"podspy>" not in r.stderr and b"\r" not in r.stderr
