"""agent/upload against a server that fails in every way that docs/delivery.md names.

Each window must arrive once by its profile_id, or be reported as lost.
"""

import os
import random
import ssl
import time
import warnings

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

import machine
from collector_double import (
    Authority,
    Double,
    hang,
    keep_and_cut,
    status,
    store,
    store_gzip_only,
    truncated,
)


def once(double, ids):
    """Every window arrived, and none twice."""
    assert dict(double.kept) == {i: 1 for i in ids}


def test_a_window_arrives_as_otlp_in_zstd_and_leaves_the_spool(double, start, windows):
    d = start(double.url)
    ids = [d.window(pid, 10 * pid) for pid in (1, 2, 3)]
    assert d.flush() == "flushed"
    once(double, ids)
    assert double.taken() == 60
    assert windows() == 0
    _, path, headers, _ = double.requests[0]
    assert path == "/v1development/profiles"
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers["Content-Encoding"] == "zstd"
    assert headers["User-Agent"].startswith("podspy/")
    assert "Authorization" not in headers and "Expect" not in headers


@pytest.mark.parametrize("compression, encoding", [("zstd", "zstd"), ("gzip", "gzip"), ("none", "identity"),
                                                   ("auto", "zstd")])
def test_a_window_is_sent_in_the_configured_compression(double, start, compression, encoding):
    d = start(double.url, compression=compression)
    ids = [d.window(pid) for pid in (1, 2)]
    assert d.flush() == "flushed"
    once(double, ids)
    assert [h["Content-Encoding"] for _, _, h, _ in double.requests] == [encoding] * 2


def test_a_gzip_only_backend_gets_gzip_and_each_window_once(double, start, windows):
    double.default = store_gzip_only
    d = start(double.url, compression="auto")
    ids = [d.window(pid, 10 * pid) for pid in (1, 2, 3, 4)]
    assert d.flush() == "flushed"
    once(double, ids)
    assert double.taken() == 100
    assert windows() == 0
    # The first window is tried in zstd; what worked is remembered.
    assert [h["Content-Encoding"] for _, _, h, _ in double.requests] == ["zstd"] + 4 * ["gzip"]
    d.wait_log("gzip is sent from now on")
    assert d.metric('podspy_agent_upload_windows_total{result="rejected"}') == 0


def test_a_gzip_only_backend_that_is_busy_loses_nothing(double, start):
    double.default = store_gzip_only
    double.plan = [store_gzip_only, status(503), store_gzip_only, hang(0.1)]
    d = start(double.url, compression="auto")
    ids = [d.window(pid) for pid in (1, 2)]
    assert d.flush() == "flushed"
    once(double, ids)


def test_a_window_refused_in_zstd_and_gzip_is_reported_lost(double, start):
    double.plan = [status(400), status(400)]
    d = start(double.url, compression="auto")
    d.window(7, 25)
    d.wait_log("rejected a window")
    i = d.window(7, 5)
    assert d.flush() == "flushed"
    once(double, [i])
    assert (double.taken(7), double.told_lost(7)) == (5, 25)
    assert [h["Content-Encoding"] for _, _, h, _ in double.requests] == ["zstd", "gzip", "zstd"]


def test_windows_wait_for_the_collector_and_arrive_once_in_order(
    start, authority, free_port, windows
):
    d = start(f"https://127.0.0.1:{free_port}")
    ids = [d.window(pid) for pid in range(1, 6)]
    d.wait_log("cannot be reached")
    assert windows() == 5
    double = Double(authority.issue(), free_port)
    try:
        assert d.flush() == "flushed"
        once(double, ids)
        assert [pid for pid, _ in double.samples.values()] == [1, 2, 3, 4, 5]
        d.wait_log("takes windows again")
    finally:
        double.close()


def test_a_wrong_token_is_logged_once_and_a_changed_file_is_used(
    double, start, tmp_path, windows
):
    double.token = "right"
    token = tmp_path / "token"
    token.write_text("wrong\n")
    d = start(double.url, token=token)
    ids = [d.window(1)]
    for _ in range(3):
        assert d.flush(1) == "waiting"
    assert len(double.requests) >= 3
    assert windows() == 1
    denied = [line for line in d.log if "refuses this agent" in line]
    assert len(denied) == 1 and "status=401" in denied[0] and "no such token" in denied[0]
    assert not any("wrong" in line for line in d.log), "a token is not logged"
    replaced = time.monotonic()
    token.write_text("  right\n\n")
    while not double.kept:
        assert time.monotonic() - replaced < 60, "the new token was not used"
        time.sleep(0.05)
    ids.append(d.window(2))
    assert d.flush() == "flushed"
    once(double, ids)


@pytest.mark.parametrize("content", ["", "  \n", "a b\n", "a\r\nX-Evil: 1\n", "x" * 20000])
def test_nothing_is_sent_without_a_valid_token(double, start, tmp_path, content):
    token = tmp_path / "token"
    token.write_text(content)
    d = start(double.url, token=token)
    i = d.window()
    d.wait_log("token file")
    assert double.requests == []
    token.write_text("good")
    assert d.flush() == "flushed"
    once(double, [i])
    assert double.requests[0][2]["Authorization"] == "Bearer good"


def test_retry_after_is_honoured(double, start):
    double.plan = [status(429, Retry_After="2")]
    d = start(double.url)
    i = d.window()
    assert d.flush() == "flushed"
    once(double, [i])
    first, second = double.requests[0][0], double.requests[1][0]
    assert 2 <= second - first < 5


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 507])
def test_a_busy_collector_is_retried(double, start, code):
    double.plan = [status(code, b"not now")] * 2
    d = start(double.url)
    i = d.window()
    assert d.flush() == "flushed"
    once(double, [i])
    assert len(double.requests) == 3
    assert d.metric('podspy_agent_upload_requests_total{result="busy"}') == 2


@pytest.mark.parametrize("code", [400, 413, 415, 422])
def test_a_final_refusal_reports_the_samples_as_lost(double, start, code):
    text = b'{"error": {"code": "x", "message": "too\\nbad", "hint": "never"}}'
    double.plan = [status(code, text)]
    d = start(double.url)
    d.window(7, 25)
    d.wait_log("rejected a window")
    assert any('reason="too bad: never"' in line for line in d.log)
    assert d.flush() == "flushed"
    i = d.window(7, 5)
    assert d.flush() == "flushed"
    once(double, [i])
    assert (double.taken(7), double.told_lost(7)) == (5, 25)
    assert len(double.requests) == 2


def test_the_loss_of_an_ended_process_is_reported_in_its_own_window(double, start):
    double.plan = [status(400)]
    d = start(double.url)
    d.window(7, 25)
    d.wait_log("rejected a window")
    d.flush()
    d.window(8, 5)
    assert d.flush() == "flushed"
    assert (double.taken(7), double.told_lost(7)) == (0, 25)
    assert (double.taken(8), double.told_lost(8)) == (5, 0)


def test_a_redirect_is_not_followed(double, start, windows):
    double.plan = [status(code, Location=f"{double.url}/elsewhere") for code in (301, 307, 308)]
    d = start(double.url)
    i = d.window()
    d.wait_log("not a collector's answer")
    assert d.flush() == "flushed"
    once(double, [i])
    assert double.gets == []
    assert {r[1] for r in double.requests} == {"/v1development/profiles"}


@pytest.mark.parametrize(
    "plan",
    [
        status(404, b"nginx"),
        status(200, b"<html>Log in to the network</html>"),
        status(202),
        status(200, b"x" * 200000),
        truncated,
    ],
    ids=["404", "a-page", "202", "endless", "truncated"],
)
def test_an_answer_that_is_not_an_acknowledgement_keeps_the_window(double, start, plan):
    double.plan = [plan]
    d = start(double.url)
    i = d.window()
    assert d.flush() == "flushed"
    once(double, [i])
    assert len(double.requests) == 2


def test_a_partial_success_is_final_and_logged(double, start):
    def partial(handler, body):
        text = b"too many labels"
        inner = b"\x08\x01\x12" + bytes([len(text)]) + text
        handler.answer(200, b"\x0a" + bytes([len(inner)]) + inner)

    double.plan = [partial]
    d = start(double.url)
    d.window()
    assert d.flush() == "flushed"
    d.wait_log("too many labels")
    assert d.metric("podspy_agent_upload_rejected_profiles_total") == 1
    assert len(double.requests) == 1


def test_a_hung_collector_is_left_after_the_timeout(double, start):
    double.plan = [hang(30)]
    d = start(double.url, timeout_ms=700)
    begin = time.monotonic()
    i = d.window()
    assert d.flush() == "flushed"
    assert time.monotonic() - begin < 25  # and not the 30 that it hangs
    once(double, [i])


def test_an_agent_ends_while_the_collector_hangs(double, start, windows):
    double.plan = [hang(30)]
    d = start(double.url, timeout_ms=30000)
    d.window()
    while not double.requests:
        time.sleep(0.02)
    begin = time.monotonic()
    d.quit()
    assert time.monotonic() - begin < 20  # and not the 30 that it hangs
    assert windows() == 1


def test_a_lost_answer_repeats_the_same_ids(double, start):
    double.plan = [keep_and_cut]
    d = start(double.url)
    i = d.window()
    assert d.flush() == "flushed"
    assert dict(double.kept) == {i: 2}, "the same profile_id, which a collector stores once"


def test_a_wrong_authority_is_refused_until_its_file_is_replaced(
    double, start, tmp_path, authority, windows
):
    ca = tmp_path / "trusted.pem"
    ca.write_bytes(Authority(tmp_path, "other").path.read_bytes())
    d = start(double.url, ca=ca)
    i = d.window()
    d.wait_log("cannot be reached")
    assert any("certificate" in line for line in d.log)
    assert double.requests == [] and windows() == 1
    fresh = tmp_path / "fresh.pem"
    fresh.write_bytes(authority.path.read_bytes())
    os.replace(fresh, ca)
    assert d.flush() == "flushed"
    once(double, [i])


def test_a_removed_authority_is_not_trusted_on_an_open_connection(
    double, start, tmp_path, authority, windows
):
    ca = tmp_path / "trusted.pem"
    ca.write_bytes(authority.path.read_bytes())
    d = start(double.url, ca=ca)
    i = d.window()
    assert d.flush() == "flushed"
    ca.write_bytes(Authority(tmp_path, "other").path.read_bytes())
    d.window()
    d.wait_log("cannot be reached")
    once(double, [i])
    assert windows() == 1


def test_a_certificate_for_another_name_is_refused(start, authority):
    double = Double(authority.issue("127.0.0.2"))
    try:
        d = start(double.url)
        d.window()
        d.wait_log("cannot be reached")
        assert double.requests == []
    finally:
        double.close()


@pytest.mark.parametrize("versions", [(ssl.TLSVersion.TLSv1_2,) * 2, (ssl.TLSVersion.TLSv1_3,) * 2])
def test_a_certificate_not_for_servers_gets_neither_token_nor_window(start, authority, tmp_path, windows, versions):
    token = tmp_path / "token"
    token.write_text("secret-token")
    double = Double(authority.issue(purposes=[Purpose.CLIENT_AUTH]), versions=versions)
    received = b""
    original = ssl.SSLSocket.recv_into

    def recv_into(self, buffer, *more):  # what comes after the handshake
        nonlocal received
        n = original(self, buffer, *more)
        received += bytes(buffer[:n])
        return n

    ssl.SSLSocket.recv_into = recv_into
    try:
        d = start(double.url, token=token)
        d.window()
        d.wait_log("cannot be reached")
        assert any("lacks serverAuth" in line for line in d.log), d.log
        assert received == b"" and double.requests == [] and windows() == 1
    finally:
        ssl.SSLSocket.recv_into = original
        double.close()


@pytest.mark.parametrize("purposes", [(), (Purpose.SERVER_AUTH,), (Purpose.CLIENT_AUTH, Purpose.SERVER_AUTH),
                                      (Purpose.ANY_EXTENDED_KEY_USAGE,)])
def test_a_certificate_also_for_servers_is_accepted(start, authority, purposes):
    double = Double(authority.issue(purposes=purposes))
    try:
        d = start(double.url)
        ids = [d.window(), d.window()]
        assert d.flush() == "flushed"
        once(double, ids)
    finally:
        double.close()


def test_a_server_of_tls_1_1_is_refused(start, authority):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        double = Double(authority.issue(), versions=(ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1))
    try:
        d = start(double.url)
        d.window()
        d.wait_log("cannot be reached")
        assert double.requests == []
    finally:
        double.close()


def test_a_connection_serves_many_windows(double, start):
    accepted = []
    original = double.server.process_request
    double.server.process_request = lambda *a: (accepted.append(1), original(*a))
    d = start(double.url)
    ids = [d.window(pid) for pid in range(1, 30)]
    assert d.flush() == "flushed"
    once(double, ids)
    assert len(accepted) == 1


def test_clear_text_to_another_machine_is_refused(start):
    d = start("http://collector.example:8080")
    assert d.started.startswith("error") and "clear text" in d.started
    assert d.process.wait(60) == 1


def test_a_full_spool_drops_the_oldest_and_reports_the_loss(
    start, authority, free_port, windows
):
    d = start(f"https://127.0.0.1:{free_port}", spool_bytes=6 * 4096)
    taken = {pid: 0 for pid in range(1, 5)}
    for n in range(40):
        pid = 1 + n // 10  # each process ends after ten windows
        d.window(pid, n + 1)
        taken[pid] += n + 1
        assert windows() <= 6
    d.quit()
    double = Double(authority.issue(), free_port)
    try:
        d = start(double.url, spool_bytes=6 * 4096)
        assert d.flush() == "flushed"
        d.window(9, 1)  # carries what was not told yet
        assert d.flush() == "flushed"
        for pid, n in taken.items():
            assert double.taken(pid) + double.told_lost(pid) == n
        assert double.taken(4) > 0 and double.taken(1) == 0
        assert set(double.kept.values()) == {1}
    finally:
        double.close()


def test_a_full_disk_drops_the_oldest_and_reports_the_loss(
    start, authority, free_port, tmp_path
):
    if os.geteuid() != 0:
        pytest.skip("a small file system is mounted by root only")
    if why := machine.why_no_namespaces():
        pytest.skip(why)
    spool = tmp_path / "spool"
    spool.mkdir()
    mount = 'mount -t tmpfs -o size=48k none "$0" && exec "$@"'
    before = ["unshare", "--mount", "sh", "-c", mount, spool]
    d = start(f"https://127.0.0.1:{free_port}", before=before)
    assert d.started == "ready", d.log
    taken = refused = 0
    for n in range(1, 60):
        refused += d.ask(f"window {1 + n % 3} {n}").startswith("error")
        taken += n
    assert d.metric('podspy_agent_upload_windows_total{result="dropped"}') > 20
    double = Double(authority.issue(), free_port)
    try:
        assert d.flush() == "flushed"
        assert len(double.kept) >= 3, "the newest windows found room"
        d.window(9, 1)
        assert d.flush() == "flushed"
        assert double.taken() + double.told_lost() == taken + 1
        assert refused <= 5
    finally:
        double.close()


def test_a_kill_at_any_moment_loses_no_spooled_window(double, start, tmp_path):
    rng = random.Random(3)
    sent, taken = set(), 0

    def flaky(handler, body):
        double.plan[:] = [rng.choice([store, store, store, status(503), keep_and_cut])]
        store(handler, body)

    double.default = flaky
    for run in range(15):
        d = start(double.url)
        assert d.started == "ready", d.started
        end = time.monotonic() + rng.uniform(0.0, 0.25)
        while time.monotonic() < end:
            n = rng.randrange(1, 50)
            sent.add(d.window(rng.randrange(1, 4), n))
            taken += n
        d.kill()
    double.plan, double.default = [], store
    d = start(double.url)
    assert d.flush(30) == "flushed"
    assert sent <= set(double.kept), "a window whose call had returned did not arrive"
    assert double.taken() >= taken  # the window being made while it was killed may have got there
    assert double.told_lost() == 0
    assert len(set(double.kept) - sent) <= 15
    assert not list((tmp_path / "spool").glob("*.tmp.*"))


def test_a_kill_during_overflow_counts_each_sample_once(
    start, authority, free_port, tmp_path
):
    rng = random.Random(4)
    taken = unsure = 0
    url = f"https://127.0.0.1:{free_port}"
    for _ in range(12):
        d = start(url, spool_bytes=4 * 4096)
        end = time.monotonic() + rng.uniform(0.0, 0.15)
        while time.monotonic() < end:
            n = rng.randrange(1, 50)
            d.window(rng.randrange(1, 4), n)
            taken += n
        # One more is under way when it is killed: it is there or not.
        d.process.stdin.write("window 1 1000000\n")
        d.process.stdin.flush()
        time.sleep(rng.uniform(0, 0.004))
        d.kill()
        unsure += 1
    double = Double(authority.issue(), free_port)
    try:
        d = start(url)
        assert d.flush() == "flushed"
        d.window(9, 1)
        taken += 1
        assert d.flush() == "flushed"
        total = double.taken() + double.told_lost()
        assert total % 1000000 == taken, "what was taken is what arrived and what is told lost"
        assert total // 1000000 <= unsure
    finally:
        double.close()
