"""pprof and chrometrace, read by programs that are not ours: protoc, `go tool pprof` and JSON's parser."""

import gzip
import json
import pathlib
import re
import shutil
import subprocess

import pytest

PROTO = pathlib.Path(__file__).resolve().parents[3] / "shared/formats/proto/pprof.proto"
TOTALS = {(): 1605, ("idle",): 2505, ("gil",): 1110}
views = pytest.mark.parametrize("flags", TOTALS, ids="+".join)
GO = shutil.which("go") or shutil.which("/usr/local/go/bin/go")


@views
def test_protoc_decodes_every_sample(make_profile, flags):
    packed = make_profile("pprof", *flags)
    text = subprocess.run(["protoc", "--decode=spy.pprof.Profile", "-I", PROTO.parent, PROTO.name], check=True,
                          input=gzip.decompress(packed), stdout=subprocess.PIPE).stdout.decode()
    samples = re.findall(r"(?ms)^sample \{\n(.*?)^\}", text)
    values = [[int(n) for n in re.findall(r"^  value: (\d+)", s, re.M)] for s in samples]
    assert sum(v[0] for v in values) == TOTALS[flags]
    assert sum(v[1] for v in values) == TOTALS[flags] * 10_000_000


@views
@pytest.mark.skipif(not GO, reason="go is not here: pprof's own reader is not tried")
def test_go_tool_pprof_shows_the_same_total_and_the_names(make_profile, flags, tmp_path):
    (tmp_path / "x.pb.gz").write_bytes(make_profile("pprof", *flags))
    shown = subprocess.run([GO, "tool", "pprof", "-sample_index=samples", "-top", "-nodecount=1000", tmp_path / "x.pb.gz"],
                           check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    text = shown.stdout.decode()
    assert "Total samples = %d" % TOTALS[flags] in text or " %d total" % TOTALS[flags] in text, text
    assert "busy_70" in text and "<module>" in text, text


@views
def test_chrometrace_has_every_call_begin_and_end_once(make_profile, flags):
    events = json.loads(make_profile("chrometrace", *flags))
    open_calls, last, seconds = {}, {}, 0
    for e in events:
        thread = e["pid"], e["tid"]
        calls = open_calls.setdefault(thread, [])
        if e["ph"] == "B":
            calls.append(e["ts"])
        elif e["ph"] == "E":
            began = calls.pop()
            seconds += 0 if calls else (e["ts"] - began) / 1e6
        assert e["ph"] == "M" or e["ts"] >= last.get(thread, 0)
        last[thread] = e["ts"]
    assert not any(open_calls.values())
    threads = json.loads(make_profile("speedscope", *flags))["profiles"]
    without_frames = sum(w for t in threads for w, stack in zip(t["weights"], t["samples"]) if not stack)
    assert seconds == pytest.approx(TOTALS[flags] * 0.01 - without_frames)
    names = {e["args"]["name"] for e in events if e.get("name") == "thread_name"}
    assert any("MainThread" in n for n in names)
