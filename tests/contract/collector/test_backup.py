"""Copies of a store that is in use, and stores that earlier versions wrote."""

import lzma
import sqlite3
import subprocess
import threading
import time

import pytest

from collector import REPO, Collector, usual_batch

OLD = REPO / "tests" / "data" / "store"  # written by podspy at these versions, cut to a few windows
KEPT = "retention: {raw: 7000d}\n"


def run(podspy_collector, data, *words):
    return subprocess.run([podspy_collector, "--data", data, *words], capture_output=True, text=True, timeout=120)


def query(data, sql):
    db = sqlite3.connect(f"file:{data / 'podspy.db'}?mode=ro", uri=True)
    try:
        return db.execute(sql).fetchone()
    finally:
        db.close()


def wait_until(true):
    deadline = time.monotonic() + 60
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert true()


def samples_of(collector):
    return collector.get_plain("/top?from=0&idle=1").json()["samples"]


@pytest.mark.parametrize("version", [1, 2])
def test_a_store_of_an_earlier_version_is_taken_over(podspy_collector, tmp_path, version):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "podspy.db").write_bytes(lzma.decompress((OLD / f"version{version}.db.xz").read_bytes()))
    assert query(data, "PRAGMA user_version") == (version,)
    windows, samples = query(data, "SELECT count(*), sum(samples) FROM windows")
    assert run(podspy_collector, data, "check").returncode == 0
    c = Collector(podspy_collector, data, config=KEPT)
    assert samples_of(c) == samples
    wait_until(lambda: query(data, "SELECT done FROM levels WHERE level = 0")[0] == windows)
    assert samples_of(c) == samples
    assert c.push(usual_batch().bytes()).status_code == 200
    assert samples_of(c) == samples + 500
    assert c.stop() == 0
    assert query(data, "PRAGMA user_version") == (4,)
    assert run(podspy_collector, data, "check").returncode == 0


@pytest.mark.parametrize("sql, told", [
    ("UPDATE rollups SET data = x'ff'", "samples cannot be read"),
    ("UPDATE rollups SET sums = x'ff'", "a roll-up's sums cannot be read"),
    ("DELETE FROM rollups WHERE level = 1", "an hour is not the sum of its minutes"),
    ("UPDATE rollups SET series = 99", "a roll-up's series is missing"),
])
def test_a_damaged_sum_is_reported(collector, podspy_collector, sql, told):
    assert collector.push(usual_batch().bytes()).status_code == 200
    assert collector.stop() == 0
    collector.start()  # it sums up at its start
    wait_until(lambda: query(collector.data, "SELECT count(*) FROM rollups")[0] == 2)
    assert collector.stop() == 0
    assert run(podspy_collector, collector.data, "check").returncode == 0
    with sqlite3.connect(collector.data / "podspy.db") as db:
        db.execute(sql)
    db.close()
    r = run(podspy_collector, collector.data, "check")
    assert r.returncode == 1 and told in r.stderr


def test_a_backup_of_a_store_in_use_is_whole_and_can_be_put_back(collector, podspy_collector, tmp_path):
    copy, ending, pushed = tmp_path / "copy", threading.Event(), []

    def push():
        while not ending.is_set():
            assert collector.push(usual_batch(pod=f"pod-{len(pushed)}").bytes()).status_code == 200
            pushed.append(1)

    thread = threading.Thread(target=push)
    thread.start()
    try:
        wait_until(lambda: len(pushed) >= 10)
        before = len(pushed)
        r = run(podspy_collector, collector.data, "backup", copy)
        after = len(pushed) + 1  # one may be stored and not answered yet
    finally:
        ending.set()
        thread.join()
    assert (r.returncode, r.stderr) == (0, "")
    assert [f.name for f in copy.iterdir()] == ["podspy.db"]
    assert (copy / "podspy.db").stat().st_mode & 0o777 == 0o600
    assert run(podspy_collector, copy, "check").returncode == 0
    assert before <= query(copy, "SELECT count(*) FROM windows")[0] <= after
    windows = query(copy, "SELECT count(*) FROM windows")[0]
    assert collector.stop() == 0
    for file in collector.data.glob("podspy.db*"):
        file.unlink()
    (collector.data / "podspy.db").write_bytes((copy / "podspy.db").read_bytes())
    collector.start()
    assert samples_of(collector) == 500 * windows
    assert collector.push(usual_batch(pod="later").bytes()).status_code == 200


def test_a_backup_never_replaces_a_store(collector, podspy_collector, tmp_path):
    assert collector.push(usual_batch().bytes()).status_code == 200
    copy = tmp_path / "copy"
    assert run(podspy_collector, collector.data, "backup", copy).returncode == 0
    whole = (copy / "podspy.db").read_bytes()
    r = run(podspy_collector, collector.data, "backup", copy)
    assert r.returncode == 1 and "exists already" in r.stderr
    assert (copy / "podspy.db").read_bytes() == whole
    r = run(podspy_collector, tmp_path, "backup", tmp_path / "other")
    assert r.returncode == 1 and "there is no store" in r.stderr


@pytest.mark.parametrize("words", [["backup"], ["restore"], ["check", "more"], ["backup", "a", "b"]])
def test_other_words_are_refused(podspy_collector, tmp_path, words):
    assert run(podspy_collector, tmp_path, *words).returncode == 2
