"""collapsed, json and speedscope: that each says the same of a profile, under every view."""

import itertools
import json
import re

import pytest

jsonschema = pytest.importorskip("jsonschema", reason="install python3-jsonschema")

FLAGS = ["idle", "gil", "no-native", "no-lines", "function-lines", "threads", "processes", "full"]
VIEWS = [list(v) for n in (0, 1, 2) for v in itertools.combinations(FLAGS, n)] + [FLAGS]
UNKNOWN = {"cpu_ns": None, "runqueue_ns": None, "throttled_ns": None, "throttled_periods": None, "of_ns": 0, "runqueue_of_ns": 0, "throttled_of_ns": 0,
           "running_ns": 0, "runnable_ns": 0}
TOTALS = {(False, False): 1605, (True, False): 2505, (False, True): 1110, (True, True): 1110}


def total_of(flags):
    return TOTALS["idle" in flags, "gil" in flags]


def walk(node):
    todo = [node]
    while todo:
        node = todo.pop()
        yield node
        todo.extend(node["children"])


@pytest.mark.parametrize("flags", VIEWS, ids=" ".join)
def test_every_format_counts_the_same(make_profile, flags):
    want = total_of(flags)
    lines = make_profile("collapsed", *flags).decode().splitlines()
    assert sum(int(line.rsplit(" ", 1)[1]) for line in lines) == want
    root = json.loads(make_profile("json", *flags))["root"]
    assert root["total"] == want
    nodes = list(walk(root))
    assert sum(n["self"] for n in nodes) == want
    assert sum(n["self_ns"] for n in nodes) == root["total_ns"] == want * 10_000_000
    for n in nodes:
        assert n["total"] == n["self"] + sum(c["total"] for c in n["children"])
        assert n["total_ns"] == n["self_ns"] + sum(c["total_ns"] for c in n["children"])
    scope = json.loads(make_profile("speedscope", *flags))
    weights = sum(sum(p["weights"]) for p in scope["profiles"])
    assert weights == pytest.approx(want * 0.01)
    svg = make_profile("svg", *flags).decode()
    assert f"all\n{want} samples, 100.00 %" in svg


@pytest.mark.parametrize("seed", range(6))
def test_random_profiles_keep_their_totals_when_folded(make_profile, seed):
    whole = json.loads(make_profile("json", "idle", f"seed={seed}"))["root"]
    for most in (1, 2, 10, 100):
        few = json.loads(make_profile("json", "idle", f"seed={seed}", f"max={most}"))["root"]
        nodes = list(walk(few))
        assert sum(n["self"] for n in nodes) == few["total"] == whole["total"]
        kept = [n for n in nodes if n["name"] != "(other)"]
        assert len(kept) <= most
        assert len(kept) == min(most, len(list(walk(whole))))


def test_json_has_the_documented_shape(make_profile):
    doc = json.loads(make_profile("json", "idle", "threads"))
    assert set(doc) == {"meta", "root"}
    assert re.fullmatch(r"podspy \d+\.\d+\.\d+", doc["meta"]["exporter"])
    assert doc["meta"]["states"] == {"waiting": 900, "running": 1605, "runnable": 0}
    assert doc["meta"]["account"] == {**UNKNOWN, "text": "", "warning": ""}
    series = doc["meta"]["series"][0]
    assert series["account"] == UNKNOWN
    assert set(series) == {"labels", "start_ns", "duration_ns", "period_ns", "quality", "account"}
    assert series["labels"]["process.pid"] == "101"
    assert series["quality"] == {"clean": 2000, "salvaged": 30, "paused": 20, "failed": 5,
                                 "lost": 1, "late": 2}
    for n in walk(doc["root"]):
        assert set(n) == {"name", "file", "line", "kind", "self", "total", "self_ns", "total_ns",
                          "children"}
        assert n["kind"] in ("python", "native", "marker")
    names = {n["name"] for n in walk(doc["root"])}
    assert "bell\x07 esc\x1b[31m tab\t nl\n end" in names  # whole and unchanged


def test_collapsed_lines_have_the_documented_form(make_profile):
    text = make_profile("collapsed", "idle").decode()
    assert "\r" not in text and "\x1b" not in text
    for line in text.splitlines():
        assert re.fullmatch(r".+ [1-9]\d*", line)
    assert re.search(r'^gunicorn: worker \(101\) of shop-1;<module> \(gunicorn/__main__.py:7\)'
                     r";.*;busy_70 \(app/work.py:12\) 700$", text, re.M)
    assert "app/odd:name.py" in text
    assert "[no frames] 15" in make_profile("collapsed", "no-processes").decode()


def test_speedscope_is_valid_by_the_published_schema(make_profile, speedscope_dir):
    schema = json.loads((speedscope_dir / "file-format-schema.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    for flags in ([], ["idle"], ["threads", "gil"], ["empty"], ["seed=1", "idle"]):
        doc = json.loads(make_profile("speedscope", *flags))
        validator.validate(doc)
        for profile in doc["profiles"]:
            assert len(profile["samples"]) == len(profile["weights"])
            assert profile["endValue"] == pytest.approx(sum(profile["weights"]))
            for stack in profile["samples"]:
                assert all(0 <= i < len(doc["shared"]["frames"]) for i in stack)
    with pytest.raises(jsonschema.ValidationError):  # the schema does refuse
        validator.validate({**doc, "activeProfileIndex": None})
