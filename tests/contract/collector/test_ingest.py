"""Pushes that are accepted, and the answers to all others."""

import gzip
import os
import re
import subprocess
import time
import zlib

import pytest
import requests
import zstandard

from collector import MAIN, Batch, labels, pb, usual_batch, usual_stacks

PEAK_MIB = 400


def _packed(encoding, data):
    return {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress,
            None: lambda d: d}[encoding](data)


@pytest.mark.parametrize("encoding", [None, "gzip", "zstd"])
def test_a_batch_is_taken_in_each_encoding_and_answered_as_otlp(collector, encoding):
    r = collector.push(_packed(encoding, usual_batch().bytes()), encoding)
    assert r.status_code == 200
    assert r.headers["Content-Type"] == "application/x-protobuf"
    answer = pb.ExportProfilesServiceResponse.FromString(r.content)
    assert not answer.HasField("partial_success")
    tree = collector.get("/profiles?pod=demo&format=json").json()
    assert tree["root"]["total"] == 100


def test_a_repeated_profile_is_stored_once(collector):
    body = usual_batch().bytes()
    assert collector.push(body).status_code == 200
    samples = collector.metric("podspy_collector_samples_total")
    for _ in range(2):
        assert collector.push(body).status_code == 200
    assert samples > 0
    assert collector.get("/profiles?pod=demo&format=json").json()["root"]["total"] == 100
    assert collector.metric("podspy_collector_duplicate_profiles_total") == 2
    assert collector.metric("podspy_collector_samples_total") == samples  # those of the first only


def test_a_profile_twice_in_one_batch_counts_once(collector):
    b, profile_id = Batch(), os.urandom(16)
    for _ in range(2):
        b.add(labels(), usual_stacks(), profile_id=profile_id)
    assert collector.push(b.bytes()).status_code == 200
    assert collector.get("/profiles?pod=demo&format=json").json()["root"]["total"] == 100


def test_an_empty_request_is_taken(collector):
    assert collector.push(b"").status_code == 200


def _malformed():
    good = usual_batch().bytes()
    yield "noise", os.urandom(300), None
    yield "cut off", good[:-7], None
    yield "zstd cut off", zstandard.ZstdCompressor().compress(good)[:-5], "zstd"
    yield "zstd of noise", b"\x28\xb5\x2f\xfd" + os.urandom(100), "zstd"
    yield "gzip cut off", gzip.compress(good)[:-5], "gzip"
    yield "not gzip", good, "gzip"
    b = Batch()
    b.add(labels(), usual_stacks(), profile_id=b"short")
    yield "short id", b.bytes(), None
    b = usual_batch()
    b.request.resource_profiles[0].scope_profiles[0].profiles[0].samples[0].stack_index = 9999
    yield "stack out of range", b.bytes(), None
    value = b"\x0a\x01x"
    for _ in range(2000):  # an AnyValue that holds an ArrayValue that holds an AnyValue ...
        value = _field(5, _field(1, value))
    yield "nested", _field(1, _field(1, _field(1, _field(1, b"k") + _field(2, value)))), None


def _field(number, data):
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


@pytest.mark.parametrize("name, body, encoding", list(_malformed()),
                         ids=lambda v: v if isinstance(v, str) else "")
def test_a_malformed_body_is_400_with_the_reason(collector, name, body, encoding):
    r = collector.push(body, encoding)
    assert r.status_code == 400, name
    error = r.json()["error"]
    assert error["code"] == "bad_request" and error["message"] and error["hint"]
    assert collector.get("/pods").json()["pods"] == []


@pytest.mark.parametrize("days", [1, -30])
def test_a_time_out_of_range_is_503_as_the_clock_may_be_wrong(collector, days):
    b = Batch()
    b.add(labels(), usual_stacks(), start=time.time() + days * 86400)
    r = collector.push(b.bytes())
    assert r.status_code == 503
    assert int(r.headers["Retry-After"]) > 0
    days = re.findall(r"\d{4}-\d\d-\d\dT", r.json()["error"]["message"])
    assert len(set(days)) == 2  # it names both times
    assert collector.get("/pods?from=0").json()["pods"] == []


def test_other_types_and_encodings_are_415(collector):
    body = usual_batch().bytes()
    assert collector.push(body, **{"Content-Type": "text/json"}).status_code == 415
    r = collector.push(body, "br")
    assert r.status_code == 415
    assert "zstd" in r.json()["error"]["message"]


def test_a_decompression_bomb_is_413_and_memory_stays_bounded(collector):
    zeros = b"\0" * (1 << 20)
    packer = zstandard.ZstdCompressor().compressobj()
    bomb = b"".join(packer.compress(zeros) for _ in range(2048)) + packer.flush()
    assert len(bomb) < 1 << 20
    gz = zlib.compressobj(wbits=31)
    gz_bomb = b"".join(gz.compress(zeros) for _ in range(512)) + gz.flush()
    assert collector.push(bomb, "zstd").status_code == 413
    assert collector.push(gz_bomb, "gzip").status_code == 413
    assert collector.memory_peak_mib() < PEAK_MIB


def _zeros(total, piece=1 << 20):
    block = b"\0" * piece
    for _ in range(total // piece):
        yield block


def test_a_body_of_1_gib_is_413_before_it_is_read(collector):
    session = requests.Session()
    request = requests.Request(
        "POST", collector.url("/v1development/profiles"), data=_zeros(1 << 30),
        headers={"Authorization": f"Bearer {collector.token('ingest')}",
                 "Content-Type": "application/x-protobuf"}).prepare()
    del request.headers["Transfer-Encoding"]
    request.headers["Content-Length"] = str(1 << 30)
    began = time.monotonic()
    r = session.send(request, verify=collector.ca, timeout=60)
    assert r.status_code == 413
    assert r.json()["error"]["code"] == "too_large"
    assert collector.memory_peak_mib() < PEAK_MIB
    print(f"1 GiB refused in {time.monotonic() - began:.1f} s, "
          f"peak {collector.memory_peak_mib():.0f} MiB")


def test_a_body_of_1_gib_of_unknown_length_is_413(collector):
    with collector.raw() as s:
        s.sendall(b"POST /v1development/profiles HTTP/1.1\r\nHost: localhost\r\n"
                  b"Authorization: Bearer " + collector.token("ingest").encode() +
                  b"\r\nContent-Type: application/x-protobuf\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            for block in _zeros(1 << 30):
                s.sendall(b"%x\r\n%s\r\n" % (len(block), block))
                sent += len(block)
        except OSError:
            pass
        answer = s.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"too_large"' in answer
    assert collector.memory_peak_mib() < PEAK_MIB


def test_curl_sees_413_for_1_gib(collector, tmp_path):
    big = tmp_path / "big"
    with open(big, "wb") as f:
        f.truncate(1 << 30)
    p = subprocess.run(
        ["curl", "-s", "-o", tmp_path / "answer", "-w", "%{http_code}", "--cacert", collector.ca,
         "-H", f"Authorization: Bearer {collector.token('ingest')}",
         "-H", "Content-Type: application/x-protobuf", "-T", big, "-X", "POST",
         collector.url("/v1development/profiles")], capture_output=True, text=True, timeout=120)
    assert p.stdout == "413", p.stderr


def test_a_refused_push_is_answered_while_its_body_still_arrives(collector):
    for _ in range(20):
        r = collector.push(os.urandom(8 << 20), Authorization="Bearer wrong")
        assert r.status_code == 401


def test_body_mib_bounds_the_body(new_collector):
    c = new_collector(config="limits: {body_mib: 1}\n")
    assert c.push(b"\0" * ((1 << 20) + 1)).status_code == 413
    assert c.push(b"\0" * (1 << 20)).status_code == 400


def test_more_agents_than_the_limit_are_429(new_collector):
    c = new_collector(config="limits: {agents: 2}\n")
    for node, status in (("a", 200), ("b", 200), ("c", 429), ("a", 200)):
        b = Batch()
        b.add(labels(**{"k8s.node.name": node}), usual_stacks())
        r = c.push(b.bytes())
        assert r.status_code == status, node
    b = Batch()
    b.add(labels(**{"k8s.node.name": "c"}), usual_stacks())
    r = c.push(b.bytes())
    assert int(r.headers["Retry-After"]) > 0
    assert r.json()["error"]["code"] == "too_many"


def test_more_series_than_the_limit_are_507(new_collector):
    c = new_collector(config="limits: {series: 3}\n")
    codes = [c.push(usual_batch(pid=pid).bytes()).status_code for pid in range(1, 6)]
    assert codes == [200, 200, 200, 507, 507]
    assert c.push(usual_batch(pid=1).bytes()).status_code == 200


def test_a_big_batch_of_real_stacks_is_taken(collector):
    b = Batch()
    stacks = [([MAIN] + [(f"f{i}_{d}", f"/app/m{i % 50}.py", d) for d in range(40)], 1, "running",
               1, "m") for i in range(2000)]
    b.add(labels(), stacks)
    body = b.bytes()
    assert len(body) > 2 << 20
    assert collector.push(zstandard.ZstdCompressor().compress(body), "zstd").status_code == 200
    assert collector.get("/profiles?pod=demo&format=json").json()["root"]["total"] == 2000


def test_markup_in_a_name_is_escaped(collector):
    b = Batch()
    b.add(labels(), [([MAIN, ("<script>alert(1)</script>", "/a&b.py", 1)], 5, "running", 1, "m")])
    assert collector.push(b.bytes()).status_code == 200
    svg = collector.get("/profiles?pod=demo&format=svg").text
    assert "&lt;script&gt;alert(1)" in svg and "<script>alert" not in svg


