"""What other OTLP profilers send: it appears under its names, or is rejected with a reason."""

import os
import gzip
import json
import shutil
import struct
import subprocess
import time

import pytest

from collector import HOT, MAIN, REPO, Batch, labels, pb, usual_batch, usual_stacks

DATA = REPO / "tests" / "data" / "otlp"
RECORDED_AT = 1_700_000_000_000_000_000  # the start of every profile in the recorded bodies
TYPES = {"pb": "application/x-protobuf", "json": "application/json"}


def _now():
    return time.time_ns() - 10_000_000_000


def _recorded(release, form):
    """A recorded body of the official Go library, with its times moved to now."""
    body = (DATA / f"pdata-{release}.{form}").read_bytes()
    if form == "json":
        return body.replace(str(RECORDED_AT).encode(), str(_now()).encode())
    before, after = struct.pack("<Q", RECORDED_AT), struct.pack("<Q", _now())
    assert body.count(before) == 4
    return body.replace(before, after)


def _generated(module_file, form, tmp_path):
    """The same, made by the installed library."""
    go = shutil.which("go")
    if not go:
        pytest.skip("no Go toolchain")
    program = tmp_path / "generator"
    try:
        built = subprocess.run([go, "build", f"-modfile={module_file}", "-o", program, "."],
                               cwd=DATA, capture_output=True, text=True, timeout=200)
    except subprocess.TimeoutExpired:
        pytest.skip("the official library cannot be downloaded in time")
    if built.returncode and "main.go" not in built.stderr:
        pytest.skip(f"Go cannot build with the official library: {built.stderr[-200:]}")
    assert built.returncode == 0, built.stderr
    name = {"pb": "protobuf", "json": "json"}[form]
    return subprocess.run([program, name, str(_now())], capture_output=True, check=True,
                          timeout=60).stdout


def _partial(answer, form):
    if form == "json":
        partial = answer.json()["partialSuccess"]
        return int(partial["rejectedProfiles"]), partial["errorMessage"]
    partial = pb.ExportProfilesServiceResponse.FromString(answer.content).partial_success
    return partial.rejected_profiles, partial.error_message


def _totals(collector, query):
    """name -> (kind, total) of all frames of one answer."""
    found = {}

    def walk(node):
        for child in node.get("children", []):
            found[child["name"]] = (child.get("kind"), child["total"])
            walk(child)

    walk(collector.get(f"/profiles?{query}&format=json").json()["root"])
    return found


def _check(collector, body, form):
    r = collector.push(body, **{"Content-Type": TYPES[form]})
    assert r.status_code == 200, r.text
    assert r.headers["Content-Type"] == TYPES[form]
    rejected, why = _partial(r, form)
    assert rejected == 1 and "'bytes'" in why and "1 of 4" in why

    pods = collector.get("/pods").json()["pods"]
    assert all(p["host"] == "node-7" for p in pods)
    named = next(p for p in pods if p.get("pod") == "checkout-7d9")
    assert named["service"] == "checkout"
    process = named["containers"][0]["processes"][0]
    assert (process["pid"], process["samples"]) == (4321, 10)
    other = next(p for p in pods if p is not named)["containers"][0]["processes"][0]
    assert (other["pid"], other["command"]) == (99, "nginx")
    assert len(pods) == 2

    top = {f["name"]: f for f in collector.get("/top?pod=checkout-7d9").json()["functions"]}
    assert (top["hot"]["kind"], top["hot"]["self"]) == ("python", 7)
    assert (top["0x4abc"]["kind"], top["0x4abc"]["file"]) == ("native", "libssl.so.3")
    assert (top["vfs_read"]["kind"], top["vfs_read"]["self"]) == ("native", 1)
    assert top["main"]["total"] == 10  # the time off the CPU is not in it
    assert top["hot"]["self_seconds"] == pytest.approx(0.35)

    off = collector.get("/top?pod=checkout-7d9&type=off_cpu").json()["functions"]
    assert {f["name"]: f["total_seconds"] for f in off} == {
        "vfs_read": 0.03, "hot": 0.03, "main": 0.03}
    both = collector.get("/top?pod=checkout-7d9&type=off_cpu&type=cpu").json()
    assert both["samples"] == 10 + 30  # 30 ms off the CPU, as samples of a millisecond
    for query in ("type=cpu", "type=wall", "type=samples", ""):
        assert collector.get(f"/top?pod=checkout-7d9&{query}").json()["samples"] == 10


@pytest.mark.parametrize("form", ["pb", "json"])
@pytest.mark.parametrize("release", ["0.140", "0.165"])
def test_recorded_requests_of_the_official_library_keep_their_names(collector, release, form):
    _check(collector, _recorded(release, form), form)


@pytest.mark.parametrize("form", ["pb", "json"])
@pytest.mark.parametrize("module_file", ["go.mod", "old.mod"])
def test_requests_of_the_installed_official_library_keep_their_names(collector, module_file, form, tmp_path):
    _check(collector, _generated(module_file, form, tmp_path), form)


def test_a_repeated_body_is_stored_once_and_its_refusal_repeated(collector):
    body = _recorded("0.165", "pb")
    for _ in range(3):
        assert _partial(collector.push(body), "pb")[0] == 1
    assert collector.get("/top?pod=checkout-7d9").json()["samples"] == 10


# --- names ---


def test_fields_of_newer_releases_are_read_past(collector):
    """Attributes of a scope and the references to entities of a resource name no process."""
    b = usual_batch()
    resource = b.request.resource_profiles[0]
    resource.resource.entity_refs.add(schema_url="x", type="service", id_keys=["service.name"])
    scope = resource.scope_profiles[0].scope
    scope.name, scope.dropped_attributes_count = "other", 3
    pair = scope.attributes.add(key_strindex=b._string("service.name"))
    pair.value.string_value_strindex = b._string("not this")
    for a in resource.resource.attributes:
        a.value.string_value_strindex = b._string(a.value.string_value)
        a.key_strindex, a.key = b._string(a.key), ""
    assert collector.push(b.bytes()).status_code == 200
    pods = collector.get("/pods").json()["pods"]
    assert [(p["pod"], p["service"]) for p in pods] == [("demo", "checkout")]


def _with_bad_name(change):
    """A batch of two processes; `change` has damaged the resource of the second."""
    b = Batch()
    b.add(labels(), usual_stacks())
    b.add(labels(pod="spoilt"), usual_stacks())
    change(b.request.resource_profiles[1].resource, b)
    return b.bytes()


def _no_key(resource, b):
    resource.attributes[0].key = ""


def _key_out_of_range(resource, b):
    resource.attributes[0].key = ""
    resource.attributes[0].key_strindex = 9999


def _negative_key(resource, b):
    resource.attributes[0].key = ""
    resource.attributes[0].key_strindex = -1


def _value_out_of_range(resource, b):
    resource.attributes[0].value.string_value_strindex = 9999


def _two_keys(resource, b):
    b.request.dictionary.string_table.append("another")
    resource.attributes[0].key_strindex = len(b.request.dictionary.string_table) - 1


def _no_attributes(resource, b):
    del resource.attributes[:]


def _too_many(resource, b):
    for i in range(65):
        resource.attributes.add(key=f"k{i}").value.string_value = "v"


def _newer_value(resource, b):
    # An AnyValue with a field 99 that this collector does not know.
    resource.attributes[0].value.MergeFromString(b"\x9a\x06\x01x")


@pytest.mark.parametrize("change, word", [
    (_no_key, "has no key"), (_key_out_of_range, "key index"), (_negative_key, "key index"),
    (_value_out_of_range, "string index"), (_two_keys, "two keys"),
    (_no_attributes, "nothing says whose"), (_too_many, "at most 64"),
    (_newer_value, "newer OTLP")], ids=lambda v: getattr(v, "__name__", ""))
def test_a_resource_without_a_usable_name_is_rejected_alone_with_a_reason(collector, change, word):
    rejected, why = _partial(collector.push(_with_bad_name(change)), "pb")
    assert rejected == 1 and word in why
    assert [p["pod"] for p in collector.get("/pods").json()["pods"]] == ["demo"]
    assert collector.metric("podspy_collector_rejected_profiles_total") == 1


def test_a_request_without_a_usable_profile_is_400_with_the_reason(collector):
    b = Batch()
    b.add({}, usual_stacks())
    r = collector.push(b.bytes())
    assert r.status_code == 400
    assert "nothing says whose" in r.json()["error"]["message"]
    assert collector.get("/pods").json()["pods"] == []


def test_names_by_index_equal_names_by_value(collector):
    b = Batch()
    b.add(labels(), usual_stacks())
    for a in b.request.resource_profiles[0].resource.attributes:
        a.key_strindex, a.key = b._string(a.key), ""
        a.value.string_value_strindex = b._string(a.value.string_value)
    b.add(labels(pid=9), usual_stacks())
    assert collector.push(b.bytes()).status_code == 200
    pods = collector.get("/pods").json()["pods"]
    assert [p["pod"] for p in pods] == ["demo"]
    assert {p["pid"] for p in pods[0]["containers"][0]["processes"]} == {9, 4321}


def test_a_request_without_a_dictionary_names_its_processes(collector):
    b = pb.ExportProfilesServiceRequest()
    r = b.resource_profiles.add()
    r.resource.attributes.add(key="k8s.pod.name").value.string_value = "bare"
    p = r.scope_profiles.add().profiles.add(time_unix_nano=_now(), duration_nano=1)
    p.sample_type.type_strindex = p.period_type.unit_strindex = 0
    p.samples.add(values=[3])
    assert collector.push(b.SerializeToString()).content == b""
    assert [p["pod"] for p in collector.get("/pods").json()["pods"]] == ["bare"]


# --- what a profile holds ---


def test_a_negative_count_is_rejected_with_a_reason(collector):
    b = Batch()
    b.add(labels(), [([MAIN], 5, "running", 1, "m")])
    b.add(labels(), [([MAIN], -1, "running", 1, "m")])
    rejected, why = _partial(collector.push(b.bytes()), "pb")
    assert rejected == 1 and "negative" in why
    assert collector.get("/top?pod=demo").json()["samples"] == 5


def test_a_profile_past_retention_is_rejected_with_a_reason(collector):
    b = Batch()
    b.add(labels(), usual_stacks())
    b.add(labels(pod="old"), usual_stacks(), start=time.time() - 30 * 86400)
    rejected, why = _partial(collector.push(b.bytes()), "pb")
    assert rejected == 1 and "retention" in why
    assert [p["pod"] for p in collector.get("/pods?from=0").json()["pods"]] == ["demo"]


def test_counters_saturate_instead_of_wrapping(collector):
    for _ in range(3):
        b = Batch()
        b.add(labels(), [([MAIN], 2**63 - 1, "running", 1, "m")])
        assert collector.push(b.bytes()).status_code == 200
        assert collector.metric("podspy_collector_samples_total") > 9e18


def test_sums_over_the_largest_integer_of_json_stop_there(collector):
    for _ in range(3):
        b = Batch()
        b.add(labels(), [([MAIN], 2**63 - 1, "running", 1, "m")])
        profile = b.request.resource_profiles[0].scope_profiles[0].profiles[0]
        for name in ("podspy.cpu.ns", "podspy.samples.clean"):
            profile.attribute_indices.append(b._attribute(name, 2**63 - 1))
        assert collector.push(b.bytes()).status_code == 200
    [pod] = collector.get("/pods").json()["pods"]
    process = pod["containers"][0]["processes"][0]
    assert process["samples"] == process["quality"]["clean"] == 2**63 - 1
    accounts = [process["account"], collector.get("/top").json()["account"],
                collector.get("/profiles?format=json").json()["meta"]["account"]]
    assert [a["cpu_ns"] for a in accounts] == [2**63 - 1] * 3


def test_samples_and_cpu_of_one_program_are_not_summed(collector):
    b = Batch()
    b.add(labels(), [([MAIN, HOT], 10, "running", 1, "m")])
    again = b.request.resource_profiles[0].scope_profiles[0].profiles.add()
    again.CopyFrom(b.request.resource_profiles[0].scope_profiles[0].profiles[0])
    again.profile_id = b"x" * 16
    again.sample_type.type_strindex = b._string("cpu")
    again.sample_type.unit_strindex = b._string("nanoseconds")
    again.samples[0].values[0] = 100_000_000
    assert collector.push(b.bytes()).status_code == 200
    assert collector.get("/top?pod=demo").json()["samples"] == 10


# --- the JSON form and the headers ---


def _json(**more):
    profile = {
        "sampleType": {"typeStrindex": 1, "unitStrindex": 2}, "timeUnixNano": str(_now()),
        "durationNano": 5_000_000_000, "profileId": "0102030405060708090A0b0c0d0e0f10",
        "samples": [{"stackIndex": 1, "values": ["3", 4], "somethingNew": [1, {"a": None}]}]}
    profile.update(more)
    return {
        "resourceProfiles": [{
            "resource": {"attributes": [
                {"key": "k8s.pod.name", "value": {"stringValue": "j\u00f6son"}},
                {"key": "process.pid", "value": {"intValue": 12}}]},
            "scopeProfiles": [{"profiles": [profile]}]}],
        "dictionary": {
            "stringTable": ["", "samples", "count", "f", "/app/f.py"],
            "functionTable": [{}, {"nameStrindex": 3, "filenameStrindex": 4}],
            "locationTable": [{}, {"lines": [{"functionIndex": 1, "line": "7"}]}],
            "stackTable": [{}, {"locationIndices": [1]}]}}


def _push_json(collector, body):
    text = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return collector.push(text, **{"Content-Type": "application/json"})


def test_json_is_taken_and_answered_as_json(collector):
    for _ in range(2):  # its id in hexadecimal makes it one profile
        r = _push_json(collector, _json())
        assert (r.status_code, r.json()) == (200, {})
        assert r.headers["Content-Type"] == "application/json"
    top = collector.get("/top?pod=j\u00f6son&pid=12").json()
    assert top["samples"] == 7
    assert [(f["name"], f["file"]) for f in top["functions"]] == [("f", "/app/f.py")]


@pytest.mark.parametrize("body, word", [
    ("", "JSON"), ("[]", "object"), ("{", "JSON"), ('{"resourceProfiles": 1}', "not a list"),
    ('{"resourceProfiles": [1]}', "not an object"), ("[" * 200 + "]" * 200, "nested too deeply"),
    (_json(profileId="01"), "16 bytes"), (_json(profileId="0g" * 16), "hexadecimal"),
    (_json(timeUnixNano="-1"), "number"), (_json(timeUnixNano="1x"), "number"),
    (_json(samples=[{"stackIndex": 1 << 40}]), "range"),
    (_json(samples=[{"stackIndex": 7, "values": [1]}]), "out of range")],
    ids=lambda v: "" if not isinstance(v, str) or len(v) > 30 else v)
def test_malformed_json_is_400_with_the_reason(collector, body, word):
    r = _push_json(collector, body)
    assert r.status_code == 400
    assert word in r.json()["error"]["message"]


@pytest.mark.parametrize("body, status", [
    (b'{"a":[' + b"{}," * 4_000_000 + b"{}]}", 413),
    (b'{"resourceProfiles":[' + b"[" * 1_000_000, 400),
    (b'{"resourceProfiles":[' + b"{}," * 300_000 + b"{}]}", 200)],
    ids=["many objects", "deep", "many resources"])
def test_small_json_cannot_take_much_memory(collector, body, status):
    r = collector.push(gzip.compress(body), "gzip", **{"Content-Type": "application/json"})
    assert r.status_code == status
    assert collector.memory_peak_mib() < (300 if not os.environ.get("PODSPY_SANITIZE") else 800)


def test_many_attributes_and_empty_profiles_cost_little(collector):
    resource = pb.ResourceProfiles()
    for _ in range(100_000):
        resource.resource.attributes.add(key="").value.string_value = ""
    scope = resource.scope_profiles.add()
    for _ in range(4000):
        scope.profiles.add()
    body = pb.ExportProfilesServiceRequest(resource_profiles=[resource]).SerializeToString()
    r = collector.push(gzip.compress(body), "gzip")
    assert r.status_code == 400
    assert "at most 64" in r.json()["error"]["message"]


def test_the_version_of_the_signal_is_checked_before_the_body(collector):
    header = "OTLP-Profiles-Development-Version"
    body = _recorded("0.165", "pb")
    r = collector.push(b"no protobuf", **{header: "2"})
    assert r.status_code == 400
    assert "only version 1" in r.json()["error"]["message"]
    assert collector.push(body, **{header: "1"}).status_code == 200
    assert len(collector.get("/pods").json()["pods"]) == 2
