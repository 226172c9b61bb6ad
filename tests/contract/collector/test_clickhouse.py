"""Two collectors on one ClickHouse: one answer, whichever is pushed to and whichever is asked."""

import json
import threading
import time

import pytest
import requests

import clickhouse
from certificates import CLIENT, SERVER, Authority
from collector import MAIN, Batch, labels, usual_batch

pytestmark = pytest.mark.skipif(not clickhouse.program(),
                                reason="clickhouse-server is not installed: cmake/setup.sh test does")


@pytest.fixture(name="server")
def _server(tmp_path):
    s = clickhouse.Server(tmp_path / "clickhouse")
    yield s
    s.kill()


@pytest.fixture(name="pair")
def _pair(server, new_collector):
    return [new_collector(config=server.store()) for _ in range(2)]


def _total(collector, query="pod=*&idle=1"):
    answer = collector.get_plain(f"/profiles?{query}&format=collapsed")
    if answer.status_code == 404:
        return 0
    assert answer.status_code == 200, answer.text
    return sum(int(line.rsplit(" ", 1)[1]) for line in answer.text.splitlines())


def test_what_one_collector_took_the_other_answers(pair):
    one, two = pair
    body = usual_batch().bytes()
    assert one.push(body).status_code == 200
    assert two.push(body).status_code == 200  # an agent that lost the first acknowledgement
    assert [_total(c) for c in pair] == [500, 500]
    hour = f"from={int(time.time()) - 3600}&until={int(time.time()) + 60}"
    for path in (f"/profiles?pod=demo&format=json&idle=1&{hour}", f"/top?pod=demo&{hour}",
                 f"/pods?{hour}"):
        answers = [c.get_plain(path) for c in pair]
        assert [a.status_code for a in answers] == [200, 200], path
        assert answers[0].json() == answers[1].json(), path
    text = json.dumps(one.get_plain("/pods").json())
    assert "MainThread" in text and "demo" in text
    assert one.get_plain("/profiles?pod=nobody").status_code == 404


def test_an_answer_does_not_depend_on_the_order_of_rows(server, pair):
    """ClickHouse gives rows in the order of its parts, until it merges them: whenever it likes."""
    for n in range(4):
        b = Batch()
        for pid in range(3):
            b.add(labels(pid=100 + 3 * n + pid),
                  [([MAIN, (f"f{n}_{k}", "/a.py", k)], 1, "running", 1, "m") for k in range(8)])
        assert pair[n % 2].push(b.bytes()).status_code == 200
    hour = f"from={int(time.time()) - 3600}&until={int(time.time()) + 60}"
    paths = (f"/profiles?pod=demo&format=json&{hour}", f"/top?pod=demo&{hour}", f"/pods?{hour}")
    before = [pair[0].get_plain(path).json() for path in paths]
    for table in ("series", "frames", "stacks", "windows"):
        server.ask(f"OPTIMIZE TABLE {table} FINAL")
    assert before == [pair[1].get_plain(path).json() for path in paths]
    assert before[1]["samples"] == 4 * 3 * 8


def test_without_clickhouse_pushes_wait_and_readiness_says_why(server, pair):
    one, _ = pair
    body = usual_batch().bytes()
    assert one.get_plain("/readyz").status_code == 200
    server.kill()
    pushed = one.push(body)
    assert pushed.status_code == 503 and "Retry-After" in pushed.headers
    ready = one.get_plain("/readyz")
    assert ready.status_code == 503 and server.url in ready.text, ready.text
    asked = one.get_plain("/profiles?pod=demo")
    assert asked.status_code == 503, asked.text
    assert "pass-word" not in ready.text + asked.text + one.log.read_text()
    server.start()
    assert one.push(body).status_code == 200
    assert _total(one) == 500
    deadline = time.monotonic() + 60
    while one.get_plain("/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _send(collector, number, start, acknowledged):
    """One agent: every batch goes to its own collector until that has acknowledged it."""
    session = requests.Session()
    for n in range(25):
        b = Batch()
        b.add(labels(pid=number // 2), [([MAIN, (f"f{n}", "/a.py", 1)], 3, "running", 1, "m")],
              profile_id=bytes([1 + number // 2, n]) * 8, start=start)
        for _ in range(2000):
            try:
                if collector.push(b.bytes(), session=session).status_code == 200:
                    acknowledged.append((number // 2, n))
                    break
            except requests.RequestException:
                pass
            time.sleep(0.02)


def test_batches_sent_to_both_while_clickhouse_is_killed_count_once(server, pair, capsys):
    acknowledged, start = [], time.time() - 60
    senders = [threading.Thread(target=_send, args=(pair[i % 2], i, start, acknowledged))
               for i in range(4)]
    for s in senders:
        s.start()
    for _ in range(2):
        time.sleep(0.3)
        server.kill()
        server.start()
    for s in senders:
        s.join()
    rows = int(server.ask("SELECT count() FROM windows"))
    with capsys.disabled():
        print(f"\n{len(acknowledged)} acknowledgements of {len(set(acknowledged))} windows by two "
              f"collectors; ClickHouse holds {rows} rows; the answers count "
              f"{[_total(c) // 3 for c in pair]}")
    assert len(acknowledged) == 100 and len(set(acknowledged)) == 50
    assert [_total(c) for c in pair] == [150, 150]


# --- HTTPS ---

TLS = """<https_port>{port}</https_port><openSSL><server>
<certificateFile>{cert}</certificateFile><privateKeyFile>{key}</privateKeyFile>
<caConfig>{ca}</caConfig><verificationMode>strict</verificationMode>
<loadDefaultCAFile>false</loadDefaultCAFile></server></openSSL>"""


def test_https_needs_the_authority_and_the_collectors_certificate(tmp_path, new_collector):
    """A push is stored with both, over credentials; with either wrong, nothing is."""
    ours, other = Authority(tmp_path, "ours"), Authority(tmp_path, "other")
    cert, key = ours.issue("server", SERVER)
    mine, strange = ours.issue("collector", CLIENT), other.issue("stranger", CLIENT)
    port = clickhouse.free_port()
    server = clickhouse.Server(tmp_path / "clickhouse", more=TLS.format(
        port=port, cert=cert, key=key, ca=ours.path))
    try:
        right = {"url": f"https://localhost:{port}", "ca_file": ours.path, "cert_file": mine[0],
                 "key_file": mine[1]}
        one = new_collector(config=server.store(**right))
        assert one.push(usual_batch().bytes()).status_code == 200
        assert _total(one) == 500 and one.get_plain("/readyz").status_code == 200
        for change in ({"ca_file": other.path}, {"cert_file": strange[0], "key_file": strange[1]}):
            c = new_collector(config=server.store(**{**right, **change}))
            pushed = c.push(usual_batch().bytes())
            assert pushed.status_code == 503, (change, pushed.text)
            ready = c.get_plain("/readyz")
            assert ready.status_code == 503 and f"localhost:{port}" in ready.text, (change, ready.text)
        assert _total(one) == 500
    finally:
        server.kill()


# --- replicas ---


@pytest.fixture(name="replicas")
def _replicas(tmp_path):
    if why := clickhouse.why_no_replicas():
        pytest.skip(why)
    zookeeper = clickhouse.ZooKeeper(tmp_path / "zookeeper")
    servers = [clickhouse.Server(tmp_path / name, more=zookeeper.replica(name))
               for name in ("first", "second")]
    yield servers
    for s in (*servers, zookeeper):
        s.kill()


def _push_until_taken(collector, body):
    deadline = time.monotonic() + 120
    while (answer := collector.push(body)).status_code != 200:
        assert answer.status_code == 503, answer.text
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)


def test_an_acknowledged_window_is_on_every_replica(replicas, new_collector):
    """An agent tries again and again while a replica is away: what the other has is not enough."""
    first, second = replicas
    pair = [new_collector(config=s.store(replicas=2)) for s in replicas]
    _push_until_taken(pair[0], usual_batch().bytes())
    assert [s.ask("SELECT count() FROM windows") for s in replicas] == ["1", "1"]
    second.kill()
    late = usual_batch().bytes()
    for _ in range(3):
        assert pair[0].push(late).status_code == 503
    second.start()
    _push_until_taken(pair[0], late)
    first.kill()
    assert second.ask("SELECT count() FROM windows FINAL") == "2"
    assert _total(pair[1]) == 1000
