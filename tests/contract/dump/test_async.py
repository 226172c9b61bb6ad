"""podspy dump --async: each task and each frame of it equal to what the program says of itself."""

import json
import os

import pytest

import pythons
import targets

HERE = os.path.dirname(__file__)
ASYNC = [p for p in (pythons.few() if os.environ.get("PODSPY_SANITIZE") else pythons.supported()) if p.minor >= (3, 8)]
each = pytest.mark.parametrize("python", ASYNC, ids=pythons.id_of)
ENV = dict(os.environ, PYTHONIOENCODING="utf-8", PYTHONDONTWRITEBYTECODE="1", PYTHONWARNINGS="ignore")


def dump(podspy, pid, *flags):
    """(threads, {name: task}) of the JSON."""
    r = targets.run([podspy, "dump", "-j", "--async", "-p", str(pid), *flags])
    assert (r.returncode, r.stderr) == (0, b"")
    elements = json.loads(r.stdout.decode())
    tasks = {}
    for e in elements:
        for t in e.get("tasks", []):
            assert t["name"] not in tasks
            tasks[t["name"]] = dict(t, loop=e["loop"])
        assert not e.get("incomplete")
    return [e for e in elements if "tasks" not in e], tasks


def by_names(tasks, task):
    names = {t["id"]: name for name, t in tasks.items()}
    return sorted(names[i] for i in task["awaited_by"])


def differences(tasks, said):
    """What podspy gives that the program does not say, and the other way around."""
    wrong = []
    told = {t["name"]: t for t in said["tasks"]}
    for name in set(told) ^ set(tasks):
        wrong.append("%s: %s" % (name, "not listed" if name in told else "the program does not have it"))
    for name in set(told) & set(tasks):
        want, got = told[name], tasks[name]
        frames = [[f["name"], f["filename"], f["line"]] for f in got["frames"]]
        if frames != want["chain"]:
            wrong.append("%s: %s instead of %s" % (name, frames, want["chain"]))
        # asyncio's own graph also has who called gather() and shield(), from 3.14 on.
        awaited_by = sorted(set(want["awaited_by"]) | set(want["graph"] or []))
        if by_names(tasks, got) != awaited_by:
            wrong.append("%s: awaited by %s instead of %s" % (name, by_names(tasks, got), awaited_by))
        if want["kind"] and got["waits_for"]["kind"] != want["kind"]:
            wrong.append("%s: awaits %s instead of %s" % (name, got["waits_for"], want["kind"]))
        # What Task.get_stack() has of a task that waits is its outermost frame.
        if [[f["name"].rpartition(".")[2], f["line"]] for f in got["frames"][-1:]] != want["own_stack"]:
            wrong.append("%s: its own stack is %s" % (name, want["own_stack"]))
        if (got["state"], got["cancelling"]) != ("awaiting", want["cancelling"]):
            wrong.append("%s: %s %s" % (name, got["state"], got["cancelling"]))
    return wrong


def check(podspy, python, matrix, case, *args):
    with targets.running(python.argv(HERE + "/tasks.py", *args), env=ENV) as t:
        targets.wait_for(lambda: targets.state_of(t.pid) == "S", 60)
        threads, tasks = dump(podspy, t.pid)
        wrong = differences(tasks, t.said)
        matrix.setdefault(python.id, {})[case] = [len(wrong), len(t.said["tasks"])]
        assert not wrong, "\n".join(wrong[:20])
        return t.said, threads, tasks


@each
def test_every_task_equals_what_the_program_says(python, podspy, matrix):
    said, threads, tasks = check(podspy, python, matrix, "tasks", "mixed", "0")
    assert len(said["tasks"]) > 30 and not set(said["not_listed"]) & set(tasks)
    loops = {t["loop"]["os_thread_id"] for t in tasks.values()}
    assert len(loops) == 2 and loops <= {e["os_thread_id"] for e in threads}
    assert {t["loop"]["class"] for t in tasks.values()} == {"_UnixSelectorEventLoop"}


@each
def test_tasks_that_are_written_in_python_are_the_same(python, podspy, matrix):
    check(podspy, python, matrix, "python tasks", "mixed", "0", "python")


@each
def test_chains_of_a_hundred_coroutines_and_of_a_hundred_tasks(python, podspy, matrix):
    said, _, tasks = check(podspy, python, matrix, "deep tasks", "deep", "100")
    assert len(tasks["deep"]["frames"]) == 102 and len(said["tasks"]) == 102


@each
def test_ten_thousand_tasks(python, podspy, matrix):
    said, _, _ = check(podspy, python, matrix, "many tasks", "many", "10000")
    assert len(said["tasks"]) == 10002


# The chains that tasks_run.py can have, by names without what qualifies them.
PAUSED = ["", "pause;", "__sleep0;pause;", "sleep;pause;", "__sleep0;sleep;pause;"]
POSSIBLE = {p + f + "a" for p in PAUSED for f in ("", "a_b;", "a_c;")} | {"b", "b_d;b", "wait_for;b_d;b", "_cancel_and_wait;wait_for;b_d;b"}
POSSIBLE |= {c + ";work" for c in POSSIBLE} | {"work", "main", "sleep;main"}
SAMPLES = 100000 if os.environ.get("PODSPY_LONG") else 10000


@each
def test_no_impossible_chain_while_it_runs(python, program):
    """All reads are made by one process, so that there are enough."""
    with targets.running(python.argv(HERE + "/tasks_run.py", "100"), env=ENV) as t:
        got = json.loads(targets.run([program("bench_tasks"), str(t.pid), str(SAMPLES // 150)]).stdout)
    chains = {}
    for chain, n in got["chains"].items():
        name = ";".join(f.rpartition(".")[2] for f in chain.split(";"))
        chains[name] = chains.get(name, 0) + n
    print(python.id, got["tasks"], "tasks;", got["changing"], "changed too fast;", len(chains), "chains")
    assert not set(chains) - POSSIBLE, {c: n for c, n in chains.items() if c not in POSSIBLE}
    assert sum(chains.values()) > SAMPLES / 3 and "sleep;pause;a_b;a;work" in chains
