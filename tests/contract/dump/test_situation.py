"""What a dump says of a thread besides its stack: the GIL, garbage collection, its interpreter, its entries from C."""

import json

import pytest

import pythons
import targets

FEW = pythons.few()
# One thread keeps the GIL for long in C; the other has asked for it.
GIL = """
import itertools, sys, threading
def keeps():
    while True: sum(itertools.repeat(1, 10 ** 8))
t = threading.Thread(target=keeps, name="keeper")
t.daemon = True
sys.stdout.write("ready\\n"); sys.stdout.flush()
t.start()
while True: pass
"""
GC = """
import gc, sys
many = [[] for _ in range(1500000)]
sys.stdout.write("ready\\n"); sys.stdout.flush()
def collect():
    while True: gc.collect()
collect()
"""


def threads_of(podspy, pid):
    r = targets.run([podspy, "dump", "-j", "-p", str(pid)])
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)


@pytest.mark.parametrize("python", [p for p in FEW if p.minor >= (3, 7)], ids=pythons.id_of)
def test_who_waits_for_the_gil_and_who_is_to_drop_it_are_named(python, podspy):
    with targets.running(python.argv_code(GIL)) as t:
        def seen():
            states = {e["thread_name"]: e for e in threads_of(podspy, t.pid)}
            k, w = states.get("keeper"), states["MainThread"]
            return k and k["owns_gil"] and k["drops_gil"] and w["waits_gil"] and not w["drops_gil"]

        def shown():
            text = targets.run([podspy, "dump", "-p", str(t.pid)]).stdout.decode()
            return ('(active+gil): "keeper" [is asked to drop the GIL]\n' in text and
                    '(idle): "MainThread" [waits for the GIL]\n' in text)
        targets.wait_for(seen)
        targets.wait_for(shown)


@pytest.mark.parametrize("python", [p for p in FEW if p.minor >= (3, 7)], ids=pythons.id_of)
def test_garbage_collection_is_named(python, podspy):
    with targets.running(python.argv_code(GC)) as t:
        targets.wait_for(lambda: threads_of(podspy, t.pid)[0]["collects"])
        targets.wait_for(lambda: b'"MainThread" [collects garbage]\n' in
                         targets.run([podspy, "dump", "-p", str(t.pid)]).stdout)


ENTRIES = """
import sys, time
def inner(x):
    sys.stdout.write("ready\\n"); sys.stdout.flush()
    time.sleep(600)
def outer():
    list(map(inner, [1]))
outer()
"""


@pytest.mark.parametrize("python", [p for p in FEW if p.minor >= (3, 0)], ids=pythons.id_of)
def test_entries_from_c_are_marked(python, podspy):
    with targets.running(python.argv_code(ENTRIES)) as t:
        [thread] = threads_of(podspy, t.pid)
        entries = [(f["is_entry"], f["is_shim_entry"]) for f in thread["frames"]]
        want = ([(True, False)] * 3 if python.minor < (3, 11) else
                [(True, False), (False, False), (True, False)] if python.minor == (3, 11) else
                [(False, True), (False, False), (False, True)])
        assert entries == want


PY_SPYS_KEYS = {"pid", "thread_id", "thread_name", "os_thread_id", "active", "owns_gil", "frames", "process_info"}
PY_SPYS_FRAME = {"name", "filename", "module", "short_filename", "line", "locals", "is_entry", "is_shim_entry"}
PY_SPYS_LOCAL = {"name", "addr", "arg", "repr"}


def test_all_keys_of_py_spy_are_there(podspy):
    with targets.running(["/usr/bin/python3", "-c", ENTRIES]) as t:
        [thread] = json.loads(targets.run([podspy, "dump", "-jl", "-p", str(t.pid)]).stdout)
    assert PY_SPYS_KEYS <= set(thread)
    assert all(PY_SPYS_FRAME <= set(f) for f in thread["frames"])
    assert all(PY_SPYS_LOCAL <= set(v) for f in thread["frames"] for v in f["locals"])


# Two threads, each with an interpreter that runs another one on the same thread.
CHAINS = """
import os, sys, threading, time
try:
    import _interpreters as made
except ImportError:
    import _xxsubinterpreters as made
r, w = os.pipe()
again = "import %s as made; made.run_string(made.create(), %r)"
leaf = "import os, time\\ndef leaf():\\n    os.write(%d, b'x'); time.sleep(600)\\nleaf()" % w
def chain():
    made.run_string(made.create(), again % (made.__name__, leaf))
for _ in range(2): threading.Thread(target=chain, daemon=True).start()
n = 0
while n < 2: n += len(os.read(r, 1))
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("python", [p for p in FEW if p.minor >= (3, 12)], ids=pythons.id_of)
def test_interpreters_inside_of_each_other_each_have_a_number(python, podspy):
    with targets.running(python.argv_code(CHAINS)) as t:
        threads = threads_of(podspy, t.pid)
    by_tid = {}
    for e in threads:
        if e["os_thread_id"] != t.pid:
            by_tid.setdefault(e["os_thread_id"], []).append((e["interpreter"], e["frames"][0]["name"]))
    assert len(by_tid) == 2
    for entries in by_tid.values():
        assert [name for _, name in sorted(entries)] == ["chain", "<module>", "leaf"]
    assert sorted(i for entries in by_tid.values() for i, _ in entries) == [0, 0, 1, 2, 3, 4]
