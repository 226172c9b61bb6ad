"""Stacks that lie in many pieces: each entry from C, generator and coroutine is a piece of its own. Whatever
depth the interpreter allows is read whole, by dump and by record."""

import hashlib
import json
import os

import pytest

import machine
import pythons
import targets

HERE = os.path.dirname(__file__)
SANITIZED = bool(os.environ.get("PODSPY_SANITIZE"))
SUPPORTED = pythons.few() if SANITIZED else pythons.supported()
DEPTHS = [280, 1000] if SANITIZED else [280, 1000, 5000]
ENV = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
MODES = [[], ["--nonblocking"], ["--blocking"]]
each = pytest.mark.parametrize("python", SUPPORTED, ids=pythons.id_of)


def dump(podspy, pid, *flags):
    r = targets.run([podspy, "dump", "-j", "-p", str(pid), *flags])
    assert r.returncode == 0, r.stderr
    return {e["os_thread_id"]: e for e in json.loads(r.stdout.decode())}


def told(frames):
    text = "\n".join("%s:%d" % (f["name"], f["line"]) for f in frames)
    return [len(frames), hashlib.sha1(text.encode()).hexdigest()]


@pytest.mark.parametrize("depth", DEPTHS)
@each
def test_stacks_in_many_pieces_are_read_whole(python, depth, podspy):
    with targets.running(python.argv(HERE + "/pieces.py", str(depth), "still"), env=ENV) as t:
        said = t.said
        print("%s, %d deep: %s not allowed" % (python.id, depth, ", ".join(said["refused"]) or "none"))
        # 3.12 and 3.13 bound how often C is entered; elsewhere what the target asks for is allowed.
        bounded = python.minor in [(3, 12), (3, 13)] and (depth > 280 or python.debug)
        assert said["refused"] == [] or bounded
        assert len(said["threads"]) >= 3
        for flags in MODES:
            threads = dump(podspy, t.pid, *flags)
            for tid, (shape, n, digest) in said["threads"].items():
                got = threads[int(tid)]
                assert got["error"] is None, (shape, flags)
                assert not got["truncated"], (shape, flags, len(got["frames"]))
                assert told(got["frames"]) == [n, digest], (shape, flags, n, len(got["frames"]))


RUNNING = ["through_sorted", "Init", "generators", "delegation", "async_for"]


def count_whole(podspy, pid, depth, flags):
    r = targets.run([podspy, "record", "-p", str(pid), "-d", "1", "-r", "50", "-f", "raw", "-o", "-", "-i", *flags])
    assert r.returncode == 0, r.stderr
    stacks = [line.rpartition(" ") for line in r.stdout.decode().splitlines()]
    assert not [stack[-200:] for stack, _, n in stacks if "busy (" in stack and stack.count(";") <= depth], r.stderr
    return sum(int(n) for stack, _, n in stacks if stack.count(";") > depth and "busy (" in stack)


@pytest.mark.parametrize("flags", MODES[:2], ids=lambda f: "".join(f) or "default")
@pytest.mark.parametrize("shape", RUNNING)
@each
def test_record_samples_stacks_in_many_pieces(python, shape, flags, podspy):
    depth = 1000
    with targets.running(python.argv(HERE + "/pieces.py", str(depth), shape), env=ENV) as t:
        if t.said == b"refused":
            pytest.skip("%s does not go so deep" % python.id)
        # Measured: on a busy machine the target may hardly get a CPU, and does not stop in time.
        machine.measured("whole stacks", lambda: count_whole(podspy, t.pid, depth, flags), lambda n: n >= 5)
