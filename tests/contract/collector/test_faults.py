"""Faults, round by round: SIGKILL under load, SIGKILL in the middle of an expiry, a full disk, a wrong clock, a damaged
page. What was acknowledged is there exactly once, and database and WAL stay within max_gib. PODSPY_LONG=1: 100 rounds."""

import collections
import glob
import os
import random
import shutil
import subprocess
import time

import pytest

from collector import usual_batch
from faults import SAMPLES, Disk, Ledger, Senders, Victim, answered, size_on_disk, stored

ROUNDS = 20 if os.environ.get("PODSPY_LONG") else 2  # of each of the five faults
RAW = 60  # seconds; the shortest retention
AGED = "retention: {raw: 60s, hours: 0s, max_gib: 1}\n"


@pytest.fixture(scope="module")
def counts():
    c = collections.Counter()
    yield c
    if c:
        print("\nfaults: " + ", ".join(f"{n} {what}" for what, n in c.items()))


@pytest.fixture
def new_disk(tmp_path):
    disks = []

    def new(kind):
        disks.append(Disk(tmp_path / "disk", kind))
        return disks[-1]

    yield new
    for d in disks:
        d.close()


@pytest.fixture
def new_victim(podspy_collector, tmp_path):
    victims = []

    def new(data=tmp_path / "data", **more):
        victims.append(Victim(podspy_collector, data, **more))
        return victims[-1]

    yield new
    for v in victims:
        if v.process.poll() is None:
            v.stop()


def settle(v, ledger, counts, younger_than=86400):
    """Ends the collector, and compares its store and its answers with the ledger."""
    counts["rounds"] += 1
    due = ledger.younger_than(younger_than)
    assert due
    answers = answered(v)
    assert v.stop() == 0, v.log.read_text()
    assert size_on_disk(v.data) <= 1 << 30
    there = stored(v.data)
    lost = [name for i, name in due.items() if i not in there]
    twice = [i for i, n in there.items() if n != 1]
    wrong = {name: answers.get(name) for name in due.values() if answers.get(name) != SAMPLES}
    counts["acknowledged"] += len(ledger.acked)
    counts["of them to be kept"] += len(due)
    counts["lost"] += len(lost)
    counts["twice"] += len(twice) + sum(n != SAMPLES for n in answers.values())
    assert not lost and not twice and not wrong
    assert all(n == SAMPLES for n in answers.values()), answers


@pytest.mark.parametrize("n", range(ROUNDS))
def test_sigkill_under_load_loses_nothing_acknowledged(new_victim, counts, n):
    v, ledger, chance = new_victim(), Ledger(), random.Random(n)
    with Senders(v, ledger):
        for _ in range(2):
            before, end = len(ledger.acked), time.monotonic() + 30
            while len(ledger.acked) < before + 10 and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(chance.random() / 2)
            v.kill()
            counts["SIGKILLs under load"] += 1
            v.start()
    settle(v, ledger, counts)


def wal_written(v):
    return (v.data / "podspy.db-wal").stat().st_mtime_ns


@pytest.mark.parametrize("n", range(ROUNDS))
def test_sigkill_during_an_expiry_loses_nothing_acknowledged(new_victim, counts, n):
    """Nearly expired windows are pushed, and the collector is killed while it drops them after a start."""
    v, ledger, chance = new_victim(config=AGED), Ledger(), random.Random(n)
    for _ in range(20):
        assert ledger.push(v, [RAW - 6] * 200) == 200
    assert ledger.push(v, [0] * 50) == 200
    v.kill()
    aged = [i for i in ledger.acked if i not in ledger.younger_than(RAW / 2)]
    time.sleep(6)
    for _ in range(6):
        written = wal_written(v)
        v.spawn()
        end = time.monotonic() + 30
        while wal_written(v) == written and time.monotonic() < end:
            time.sleep(0.0005)
        time.sleep(chance.random() * 0.1)
        v.kill()
        there = stored(v.data)
        left = [i for i in aged if i in there]
        counts["SIGKILLs in an expiry"] += 0 < len(left) < len(aged)
        counts["SIGKILLs beside one"] += len(left) in (0, len(aged))
        aged = left
        if not aged:
            break
    v.start()
    end = time.monotonic() + 30
    while set(answered(v)) - set(ledger.younger_than(RAW).values()) and time.monotonic() < end:
        time.sleep(0.1)
    assert not set(answered(v)) - set(ledger.younger_than(RAW).values())
    settle(v, ledger, counts, RAW - 5)


@pytest.mark.parametrize("n", range(ROUNDS))
def test_a_full_disk_stops_pushes_only_until_windows_expire(new_disk, new_victim, counts, n):
    """The collector answers queries, starts, drops expired windows, and accepts pushes again in the freed room."""
    disk = new_disk(["tmpfs", "ext4"][n % 2])
    v, ledger = new_victim(disk.at, config=AGED), Ledger()
    for _ in range(10):  # gone when the disk is full
        assert ledger.push(v, [RAW - 15] * 10, size=2000) == 200
    disk.fill()
    with Senders(v, ledger, size=2000):
        end = time.monotonic() + 60
        while 507 not in ledger.codes and time.monotonic() < end:
            time.sleep(0.05)
    assert 507 in ledger.codes, ledger.codes
    assert [h for h in ledger.hints if "free space on the collector's disk" in h], ledger.hints
    assert not [h for h in ledger.hints if "raise" in h], ledger.hints
    assert v.get_plain("/readyz").status_code == 503
    names = {name for name, _ in ledger.acked.values()}
    assert set(ledger.younger_than(RAW - 2).values()) <= set(answered(v)) <= names
    v.kill() if counts["full disks"] % 4 < 2 else v.stop()
    assert disk.full.wait(30)
    v.start()  # on the full disk
    assert set(ledger.younger_than(RAW - 2).values()) <= set(answered(v))
    end, taken = time.monotonic() + 90, 0
    while taken < 20:  # one may find a last free page before there is room
        assert time.monotonic() < end, v.log.read_text()
        if ledger.push(v, [1], size=2000) == 200:
            taken += 1
        else:
            time.sleep(0.5)
    counts["full disks"] += 1
    counts["507"] += ledger.codes[507]
    disk.free()
    settle(v, ledger, counts, RAW - 5)


@pytest.mark.parametrize("n", range(ROUNDS))
def test_a_clock_nine_days_off_drops_nothing(new_victim, counts, n):
    library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    if not library:
        pytest.skip("libfaketime is not installed")
    v, ledger = new_victim(), Ledger()
    for ago in (0, 3600, 80000):
        assert ledger.push(v, [ago] * 20) == 200
    v.kill()
    v.env = {"LD_PRELOAD": library[0], "FAKETIME": ["+9d", "-9d"][n % 2], "FAKETIME_DONT_FAKE_MONOTONIC": "1",
             "ASAN_OPTIONS": "verify_asan_link_order=0"}
    v.start()
    counts["clocks nine days " + ["ahead", "behind"][n % 2]] += 1
    assert ledger.push(v, [0] * 20) == 503
    assert "nothing is lost" in " ".join(ledger.hints)
    time.sleep(0.5)
    if n % 2 == 0:
        assert "the clock is ahead of all windows received" in v.news()
    v.kill()
    v.env = {}
    v.start()
    assert ledger.push(v, [0] * 20) == 200
    settle(v, ledger, counts)


def check(podspy_collector, data):
    r = subprocess.run([podspy_collector, "--data", data, "--check"], capture_output=True, text=True, timeout=120)
    return r.returncode, r.stdout + r.stderr


@pytest.mark.parametrize("n", range(ROUNDS))
def test_a_damaged_page_is_reported_and_the_rest_is_served(new_victim, podspy_collector, counts, tmp_path, n):
    """The start and --check find it. Undamaged data is answered, the rest is refused with a reason, and a restored copy is
    complete."""
    v, ledger, chance = new_victim(), Ledger(), random.Random(n)
    for _ in range(10):
        assert ledger.push(v, [0] * 20, size=500) == 200
    assert v.stop() == 0
    db, copy = v.data / "podspy.db", tmp_path / "copy.db"
    shutil.copy(db, copy)
    pages = int.from_bytes(db.read_bytes()[28:32], "big")
    page = chance.randrange(2, pages + 1)
    with open(db, "r+b") as f:
        f.seek((page - 1) * 4096)
        f.write([bytes(4096), b"\xa5" * 4096, chance.randbytes(4096)][n % 3])
    code, said = check(podspy_collector, v.data)
    assert code == 1 and "the store is damaged" in said, (page, said)
    counts["damaged pages"] += 1
    v.spawn()
    runs = v.wait_ready()
    assert "the store is damaged" in v.news(), v.news()
    if runs:
        ask_damaged(v, counts)
    else:
        assert v.process.wait(10) == 1
        counts["starts refused"] += 1
    for f in v.data.glob("podspy.db*"):
        f.unlink()
    shutil.copy(copy, db)
    v.start()
    settle(v, ledger, counts)


def ask_damaged(v, counts):
    for path in ("/pods", "/top", "/profiles?format=json", "/list", "/profiles?pod=none"):
        r = v.get(path)
        assert r.status_code in (200, 404) or r.status_code == 503 and "the store is damaged" in r.text, r.text
        counts["questions answered" if r.status_code < 500 else "questions refused"] += 1
    r = v.push(usual_batch().bytes())
    assert r.status_code == 200 or r.status_code == 503 and "the store is damaged" in r.text, r.text
    assert v.get_plain("/healthz").status_code == 200
    assert v.stop() == 0


def test_readyz_is_503_for_15_s_after_the_disk_was_full(new_disk, new_victim):
    disk = new_disk("tmpfs")
    v, ledger = new_victim(disk.at), Ledger()
    assert ledger.push(v, [0]) == 200 and v.get_plain("/readyz").status_code == 200
    disk.fill()
    end = time.monotonic() + 60
    while (status := ledger.push(v, [0], size=2000)) == 200:
        assert time.monotonic() < end
    refused = time.monotonic()
    assert status == 507
    disk.free()
    while (r := v.get_plain("/readyz")).status_code == 503:
        assert "the latest push could not be stored" in r.text
        assert time.monotonic() < refused + 60
        time.sleep(0.1)
    assert time.monotonic() > refused + 14 and r.text == "ok\n"


def test_a_push_that_is_stored_proves_more_than_a_wait_does(new_disk, new_victim):
    disk = new_disk("tmpfs")
    v, ledger = new_victim(disk.at), Ledger()
    disk.fill()
    end = time.monotonic() + 60
    while ledger.push(v, [0], size=2000) == 200:
        assert time.monotonic() < end
    assert v.get_plain("/readyz").status_code == 503
    disk.free()
    assert ledger.push(v, [0]) == 200
    assert v.get_plain("/readyz").status_code == 200


def test_readyz_is_ok_while_series_over_the_bound_are_refused(new_victim):
    """An unready collector gets no pushes from a Service: those of known series would be lost with the new ones."""
    v, ledger = new_victim(config="limits: {series: 1}\n"), Ledger()
    assert ledger.push(v, [0]) == 200
    for n in range(3):
        r = v.push(usual_batch(pod=f"another-{n}").bytes())
        assert r.status_code == 507 and "limits.series" in r.text and "raise the bound" in r.json()["error"]["hint"]
        assert v.get_plain("/readyz").status_code == 200
        assert ledger.push(v, [0]) == 200
