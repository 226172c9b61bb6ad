"""An acknowledgement means durable: SIGKILL at any moment loses and duplicates nothing."""

import random
import sqlite3
import threading
import time

import requests

from collector import MAIN, Batch, labels

KILLS, SENDERS = 10, 4


class Sender(threading.Thread):
    """Pushes numbered batches as an agent does: again until it is acknowledged."""

    def __init__(self, collector, number, stop):
        super().__init__()
        self.collector, self.number, self.stop = collector, number, stop
        self.acked, self.sent, self.tries, self.codes = [], 0, 0, set()
        self.ca = collector.ca
        self.headers = {"Authorization": f"Bearer {collector.token('ingest')}",
                        "Content-Type": "application/x-protobuf"}

    def run(self):
        session, n = requests.Session(), 0
        while not self.stop.is_set():
            n += 1
            b = Batch()
            name = f"batch_{self.number}_{n}"
            ids = [b.add(labels(pid=self.number),
                         [([MAIN, (name, "/app/b.py", 1)], 3, "running", 1, "m")])
                   for _ in range(2)]
            self.sent += 1
            if self._until_acked(session, b.bytes()):
                self.acked.append((name, ids))

    def _until_acked(self, session, body):
        while True:
            self.tries += 1
            try:
                url = f"https://127.0.0.1:{self.collector.https}/v1development/profiles"
                code = session.post(url, data=body, headers=self.headers, verify=self.ca,
                                    timeout=30).status_code
                self.codes.add(code)
                if code == 200:
                    return True
            except requests.RequestException:
                pass
            if self.stop.is_set():
                return False
            time.sleep(0.02)


def test_ten_kills_under_load_lose_and_duplicate_nothing(collector, capsys):
    stop = threading.Event()
    senders = [Sender(collector, i, stop) for i in range(SENDERS)]
    for s in senders:
        s.start()
    chance = random.Random(7)
    for _ in range(KILLS):
        before = sum(len(s.acked) for s in senders)
        time.sleep(0.3 + chance.random())
        deadline = time.monotonic() + 30
        while sum(len(s.acked) for s in senders) == before and time.monotonic() < deadline:
            time.sleep(0.01)  # each kill meets a collector that takes batches
        assert sum(len(s.acked) for s in senders) > before
        collector.kill()
        collector.start()
    time.sleep(0.5)
    stop.set()
    for s in senders:
        s.join()
    assert set().union(*(s.codes for s in senders)) <= {200, 503}

    acked = {name: ids for s in senders for name, ids in s.acked}
    lines = collector.get("/profiles?format=collapsed&processes=0").text.splitlines()
    stored = {}
    for line in lines:
        stack, count = line.rsplit(" ", 1)
        stored[stack.split(";")[-1].split(" ")[0]] = int(count)
    lost = [name for name in acked if name not in stored]
    wrong = {name: n for name, n in stored.items() if n != 6}  # two profiles of three samples
    assert collector.stop() == 0
    db = sqlite3.connect(collector.data / "podspy.db")
    kept = [bytes(r[0]) for r in db.execute("SELECT profile_id FROM windows")]
    intact = db.execute("PRAGMA integrity_check").fetchone()[0]
    db.close()
    missing = [i for ids in acked.values() for i in ids if i not in set(kept)]
    with capsys.disabled():
        print(f"\n{KILLS} SIGKILLs: {sum(s.sent for s in senders)} batches sent in "
              f"{sum(s.tries for s in senders)} tries, {len(acked)} acknowledged, "
              f"{len(stored)} stored; {len(lost)} lost, {len(wrong)} not exactly once")
    assert not lost and not wrong and not missing
    assert len(kept) == len(set(kept)) and intact == "ok"
