"""Damage in the store: --check finds it in a store that is not in use, and a collector that starts says so in its log."""

import shutil
import sqlite3
import subprocess

import pytest

from collector import Collector, usual_batch

PAGE = 4096


@pytest.fixture
def stored(collector):
    """The data folder of a collector that has ended, with some windows."""
    for i in range(30):
        assert collector.push(usual_batch(pod=f"pod-{i}", pid=i + 1).bytes()).status_code == 200
    assert collector.stop() == 0
    return collector


def check(podspy_collector, data):
    return subprocess.run([podspy_collector, "--data", data, "--check"], capture_output=True, text=True, timeout=120)


def root_page(data, table):
    with sqlite3.connect(f"file:{data / 'podspy.db'}?mode=ro", uri=True) as db:
        return db.execute("SELECT rootpage FROM sqlite_master WHERE name=?", (table,)).fetchone()[0]


def overwrite(data, page, byte):
    with open(data / "podspy.db", "r+b") as f:
        f.seek((page - 1) * PAGE)
        f.write(bytes([byte]) * PAGE)


def test_a_sound_store_has_no_damage(stored, podspy_collector):
    r = check(podspy_collector, stored.data)
    assert (r.returncode, r.stderr) == (0, "")
    assert "no damage found" in r.stdout


@pytest.mark.parametrize("table", ["samples", "stacks", "strings", "labels_value"])
@pytest.mark.parametrize("byte", [0, 0xA5])
def test_a_damaged_page_is_reported(stored, podspy_collector, table, byte):
    overwrite(stored.data, root_page(stored.data, table), byte)
    r = check(podspy_collector, stored.data)
    assert r.returncode == 1 and r.stdout == ""
    assert "the store is damaged" in r.stderr and "podspy.db" in r.stderr
    c = Collector(podspy_collector, stored.data)
    c.stop()
    assert "the store is damaged" in c.log.read_text() and "podspy-collector check" in c.log.read_text()


@pytest.mark.parametrize("sql, told", [
    ("UPDATE samples SET data = x'ff'", "samples cannot be read"),
    ("DELETE FROM samples WHERE window = (SELECT max(window) FROM samples)", "a window's samples are missing"),
    ("DELETE FROM frames", "a stack's frame is missing"),
    ("DELETE FROM strings WHERE text = 'hot'", "a function's name is missing"),
])
def test_a_dangling_reference_is_reported(stored, podspy_collector, sql, told):
    with sqlite3.connect(stored.data / "podspy.db") as db:
        db.execute(sql)
    r = check(podspy_collector, stored.data)
    assert r.returncode == 1 and told in r.stderr


def test_a_store_in_use_is_not_checked(collector, podspy_collector):
    r = check(podspy_collector, collector.data)
    assert r.returncode == 1 and "another collector runs" in r.stderr


def test_a_second_collector_is_refused_without_the_lock_files_too(collector, podspy_collector):
    for name in ("lock", "podspy.lock"):
        (collector.data / name).unlink()
    r = check(podspy_collector, collector.data)
    assert r.returncode == 1 and "in use by another collector" in r.stderr
    assert collector.push(usual_batch().bytes()).status_code == 200


def start_fails(podspy_collector, data):
    r = subprocess.run([podspy_collector, "--data", data, "--listen", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"],
                       capture_output=True, text=True, timeout=120)
    return r.returncode == 1 and "may have been truncated" in r.stderr


@pytest.mark.parametrize("killed", [True, False], ids=["with a WAL", "after a clean end"])
def test_an_emptied_store_is_refused_and_its_wal_is_kept(collector, podspy_collector, killed):
    assert collector.push(usual_batch().bytes()).status_code == 200
    if killed:
        collector.kill()
    else:
        assert collector.stop() == 0
    db, wal = collector.data / "podspy.db", collector.data / "podspy.db-wal"
    whole, log = db.read_bytes(), wal.read_bytes() if killed else None
    db.write_bytes(b"")
    r = check(podspy_collector, collector.data)
    assert r.returncode == 1 and "may have been truncated" in r.stderr
    assert start_fails(podspy_collector, collector.data)
    assert db.read_bytes() == b"" and (not killed or wal.read_bytes() == log)
    db.write_bytes(whole)  # the copy that the message asks for
    again = Collector(podspy_collector, collector.data)
    assert len(again.get_plain("/pods").json()["pods"]) == 1
    assert again.stop() == 0


@pytest.mark.parametrize("made", [True, False], ids=["an empty folder", "no folder"])
def test_check_creates_no_file(podspy_collector, tmp_path, made):
    data = tmp_path / "typo"
    if made:
        data.mkdir()
    r = check(podspy_collector, data)
    assert r.returncode == 1 and "there is no store" in r.stderr and r.stdout == ""
    assert data.exists() == made and (not made or list(data.iterdir()) == [])


def files(data):
    return {f.name: f.read_bytes() for f in data.glob("podspy.db*") if not f.name.endswith("-shm")}


def make_version_3(data):
    with sqlite3.connect(data / "podspy.db") as db:
        db.execute("PRAGMA user_version=3")
    db.close()


def make_version_2(data):
    with sqlite3.connect(data / "podspy.db") as db:
        for table in ("rollups", "levels", "taken"):
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version=2")
    db.close()


def make_version_1(data):
    make_version_2(data)
    with sqlite3.connect(data / "podspy.db") as db:
        for column in ("cpu_ns", "runqueue_ns", "throttled_ns", "throttled_periods", "running_ns", "runnable_ns"):
            db.execute(f"ALTER TABLE windows DROP COLUMN {column}")
        db.execute("PRAGMA user_version=1")
    db.close()


@pytest.mark.parametrize("version", [1, 2, 3, 4])
@pytest.mark.parametrize("killed", [True, False], ids=["with a WAL", "after a clean end"])
def test_check_leaves_the_store_unchanged(stored, podspy_collector, tmp_path, version, killed):
    data = tmp_path / "other"
    if version == 1:
        make_version_1(stored.data)
    if version == 2:
        make_version_2(stored.data)
    if version == 3:
        make_version_3(stored.data)
    if killed:  # a copy of what another connection has in its WAL
        db = sqlite3.connect(stored.data / "podspy.db")
        db.execute("PRAGMA wal_autocheckpoint=0")
        db.execute("REPLACE INTO checks(id, at_ns) VALUES(1, 7)")
        db.commit()
        shutil.copytree(stored.data, data)
        db.close()
    else:
        shutil.copytree(stored.data, data)
    before = files(data)
    assert not killed or len(before["podspy.db-wal"]) > PAGE
    r = check(podspy_collector, data)
    assert (r.returncode, r.stderr) == (0, "") and "no damage found" in r.stdout
    assert files(data) == before
    c = Collector(podspy_collector, data)  # takes it up, and up to its own version
    assert len(c.get_plain("/pods").json()["pods"]) == 30
    assert c.stop() == 0
