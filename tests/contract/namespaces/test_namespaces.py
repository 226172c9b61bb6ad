"""Targets in PID and mount namespaces of their own, with another root: read from outside."""

import json
import os
import re
import shutil

import pytest

import machine
import pythons
import targets

SUPPORTED = pythons.here()
each = pytest.mark.parametrize("python", SUPPORTED, ids=pythons.id_of)
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making namespaces needs root")

INSIDE = """
import json, os, sys, threading, time
def nap():
    time.sleep(600)
t = threading.Thread(target=nap)
t.daemon = True
t.start()
time.sleep(0.2)
tids = [int(x) for x in os.listdir("/proc/self/task")]
sys.stdout.write(json.dumps({"pid": os.getpid(), "tids": tids, "root": os.listdir("/")}) + "\\n")
sys.stdout.flush()
def main():
    time.sleep(600)
main()
"""

# The new root holds only what the interpreter needs, under a read-only bind; /proc is the new one's.
SETUP = """
set -e
mount --make-rprivate /
mount -t tmpfs none "$1"
for d in /usr /lib /lib64 /bin $(dirname $(dirname "$2")); do
    [ -e "$d" ] || continue
    mkdir -p "$1$d"
    mount --bind "$d" "$1$d"
done
mkdir -p "$1/proc" "$1/only-in-here"
mount -t proc none "$1/proc"
exec chroot "$1" "$2" -c "$3"
"""


def descendants(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        children = [int(x) for x in f.read().split()]
    return children + [d for c in children for d in descendants(c)]


def status(pid, key):
    with open("/proc/%d/status" % pid) as f:
        return next(line.split()[1:] for line in f if line.startswith(key + ":"))


@each
def test_dump_and_record_read_from_outside_the_namespaces(python, podspy, tmp_path):
    if why := machine.why_no_namespaces():
        pytest.skip(why)
    root = tmp_path / "root"
    root.mkdir()
    real = os.path.realpath(python.path)
    argv = ["unshare", "-mpf", "--kill-child", "sh", "-c", SETUP, "sh", root, real, INSIDE]
    env = dict(os.environ, PYTHONHASHSEED="0")  # else 3.3 wants /dev/urandom
    with targets.running(argv, env=env) as t:
        assert "only-in-here" in t.said["root"]
        (pid,) = [d for d in descendants(t.pid) if status(d, "NSpid")[-1] == str(t.said["pid"])]
        assert pid != t.said["pid"]
        r = targets.run([podspy, "dump", "-j", "-p", str(pid)])
        assert r.returncode == 0, r.stderr
        threads = json.loads(r.stdout)
        outermost = [e["frames"][-1]["name"].rpartition(".")[2].lstrip("_") for e in threads]
        assert outermost == ["bootstrap", "<module>"]
        outside = sorted(int(x) for x in os.listdir("/proc/%d/task" % pid))
        assert sorted(e["os_thread_id"] for e in threads) == outside
        assert not set(outside) & set(t.said["tids"])
        assert [e["active"] for e in threads] == [False, False]
        r = targets.run([podspy, "record", "-i", "-p", str(pid), "-d", "0.5", "-f", "raw", "-o", "-", "-t"])
        assert r.returncode == 0 and b"main (<string>:13)" in r.stdout
        if not python.free_threaded:
            r = targets.run([podspy, "record", "-n", "-i", "-p", str(pid), "-d", "0.2", "-f", "raw", "-o", "-"])
            assert re.search(rb";main \(<string>:13\);(.*;)?[^;]*(nanosleep|select)[^;]* \(", r.stdout), r.stdout


@each
def test_a_program_whose_file_was_deleted_is_read(python, podspy, tmp_path):
    """An upgraded package: the running interpreter's files are not there any more."""
    real = os.path.realpath(python.path)
    copy = tmp_path / os.path.basename(real)
    shutil.copy(real, copy)
    env = dict(os.environ, PYTHONHOME=os.path.dirname(os.path.dirname(real)))
    library = os.path.join(env["PYTHONHOME"], "lib")
    for name in os.listdir(library):
        if name.startswith("libpython%d.%d.so" % python.minor) and "built" in python.id:
            shutil.copy(os.path.join(library, name), tmp_path / name)
            env["LD_LIBRARY_PATH"] = str(tmp_path)
    code = "import sys, time\nprint('ready'); sys.stdout.flush()\ndef nap(): time.sleep(600)\nnap()"
    with targets.running([copy, "-c", code], env=env) as t:
        for path in tmp_path.iterdir():
            path.unlink()
        assert "(deleted)" in open("/proc/%d/maps" % t.pid).read()
        r = targets.run([podspy, "dump", "-p", str(t.pid)])
        assert r.returncode == 0 and b"nap (<string>:3)" in r.stdout, r.stderr
