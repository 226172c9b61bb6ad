"""Local variables and their values, held against every interpreter's headers and against its own repr()."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import test_layout

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))
sys.path.insert(0, str(HERE.parents[2] / "contract"))
import pythons  # noqa: E402
import targets  # noqa: E402

SUPPORTED = test_layout.SUPPORTED
each = pytest.mark.parametrize("python", SUPPORTED, ids=pythons.id_of)
ENV = dict(os.environ, PYTHONIOENCODING="utf-8", PYTHONDONTWRITEBYTECODE="1")


# --- offsets ---

def headers_of(python, folder, *flags):
    found = test_layout.include_flags(python)
    if not found:
        pytest.skip("%s has not all of its headers here" % python.id)
    subprocess.run(["cc", "-w", *found, *flags, HERE / "objects.c", "-o", folder / "objects"], check=True)
    return test_layout.rows(subprocess.check_output([folder / "objects"], text=True))


def objects_of(python, program, raw):
    argv = [program("value_probe"), "objects", *map(str, python.minor)]
    return test_layout.rows(subprocess.run(argv, input=raw, stdout=subprocess.PIPE, check=True).stdout.decode())


@each
def test_offsets_equal_the_headers(python, program, tmp_path):
    headers = headers_of(python, tmp_path)
    raw = test_layout.published_by(python) if python.free_threaded else b""
    if python.debug and python.minor <= (3, 7):
        raw = b"t"
    table = objects_of(python, program, raw)
    assert len(headers) > 30 and {k: (v, table[k]) for k, v in headers.items() if table[k] != v} == {}


@pytest.mark.parametrize("python", [p for p in SUPPORTED if p.minor <= (3, 7)], ids=pythons.id_of)
def test_offsets_of_debug_builds_equal_the_headers(python, program, tmp_path):
    headers = headers_of(python, tmp_path, "-DPy_DEBUG=1", "-DPy_TRACE_REFS=1")
    table = objects_of(python, program, b"t")
    assert {k: (v, table[k]) for k, v in headers.items() if table[k] != v} == {}


@pytest.mark.parametrize("python", [p for p in SUPPORTED if p.minor >= (3, 14)], ids=pythons.id_of)
def test_offsets_of_free_threaded_builds_equal_the_headers(python, program, tmp_path):
    headers = headers_of(python, tmp_path, "-DPy_GIL_DISABLED=1")
    published = test_layout.compiled(python, tmp_path, "-DPy_GIL_DISABLED=1")
    table = objects_of(python, program, subprocess.check_output([published, "published"]).ljust(888, b"\0"))
    assert {k: (v, table[k]) for k, v in headers.items() if table[k] != v} == {}


# --- values ---

def cut(text, chars):
    return text if len(text) <= chars else text[:chars - 3] + "..."


def shown_by(program, pid, level, *flags):
    """{function: its variables} of a program with one thread."""
    r = targets.run([program("value_probe"), "locals", str(pid), str(level), *flags])
    assert r.returncode == 0, r.stderr
    threads = [json.loads(line) for line in r.stdout.decode().splitlines()]
    return {f["name"].rpartition(".")[2]: f["locals"] for t in threads for f in t["frames"]}


def is_asleep(pid):
    return targets.wait_for(lambda: targets.state_of(pid) == "S")


def escaped(text):
    """A lone surrogate cannot stand in JSON as UTF-8."""
    return text.encode("utf-8", "replace").decode()


def compare(said, shown, chars):
    """What differs, as (function, variable, shown, expected), each text cut to where the difference begins;
    and how many were compared."""
    wrong, compared = [], 0
    for function, variables in said.items():
        got = [[v["name"], v["arg"], v["cell"], v["free"]] for v in shown[function]]
        assert got == [[name, *kinds] for name, _, *kinds in variables], function
        for v, (name, text, *_) in zip(shown[function], variables):
            if re.search(r"<(?!class|enum|type)", text[:200]):
                continue
            compared += 1
            a, b = v["repr"], escaped(cut(text, chars))
            if a != b:
                at = max(len(os.path.commonprefix([a, b])) - 20, 0)
                wrong.append((function, name, a[at:at + 60], b[at:at + 60]))
    return wrong, compared


@each
def test_names_arguments_and_values_equal_the_programs_own(python, program):
    with targets.running(python.argv(HERE / "values_target.py"), env=ENV) as t:
        is_asleep(t.pid)
        for level in 1, 3, 32:
            wrong, compared = compare(t.said, shown_by(program, t.pid, level), 128 * level)
            assert wrong == []
            assert compared > 80
    print("%s: %d values" % (python.id, compared))


def without_files(core):
    """The core as if the files of Python that were mapped were not here."""
    data = core.read_bytes()
    for name in set(re.findall(rb"/[^\0]*/(?:lib)?python[23][^\0/]*(?=\0)", data)):
        data = data.replace(name + b"\0", b"/nowhere"[:len(name)] + name[8:] + b"\0")
    core.write_bytes(data)


@pytest.mark.skipif(not shutil.which("gcore"), reason="gcore (Debian: gdb) is not here")
@pytest.mark.parametrize("python", pythons.few(), ids=pythons.id_of)
def test_values_of_a_core_file(python, program, tmp_path):
    """Without the program's file there are no names of the interpreter's own types, only their flags."""
    with targets.running(python.argv(HERE / "values_target.py"), env=ENV) as t:
        is_asleep(t.pid)
        subprocess.run(["gcore", "-o", tmp_path / "core", str(t.pid)], check=True, capture_output=True)
    core = tmp_path / ("core.%d" % t.pid)
    assert compare(t.said, shown_by(program, core, 3), 3 * 128)[0] == []
    if python.minor < (3, 7):
        return  # the interpreter is found by its symbols alone
    without_files(core)
    shown = {f: {v["name"]: v["repr"] for v in variables} for f, variables in shown_by(program, core, 3).items()}
    said = {f: {name: cut(text, 3 * 128) for name, text, *_ in variables} for f, variables in t.said.items()}
    for function, names in ("constants", ["yes", "no"]), ("integers", ["word", "beyond", "hundred_digits"]), \
            ("strings", ["latin", "data_quote"]), ("sequences", ["nested", "long_list"]), ("tables", ["holes"]):
        assert {n: shown[function][n] for n in names} == {n: said[function][n] for n in names}
    assert shown["classes"]["error"] == "BaseException('bad')"
    assert re.fullmatch(r"<\? at 0x[0-9a-f]+>", shown["constants"]["none"])


@pytest.fixture(scope="module", params=SUPPORTED, ids=pythons.id_of)
def instances(request, program):
    """(python, what the program says, {level and flags: {variable: its text}}) of instances_target.py."""
    python = request.param
    with targets.running(python.argv(HERE / "instances_target.py"), env=ENV) as t:
        is_asleep(t.pid)
        said = {name: v for variables in t.said.values() for name, v in variables.items()}
        shown = {}
        for flags in ["1"], ["2"], ["2", "redact"]:
            frames = shown_by(program, t.pid, *flags)
            shown[" ".join(flags)] = {v["name"]: v["repr"] for f in t.said for v in frames[f]}
    return python, said, shown


def test_instances_show_their_attributes_from_level_2(instances):
    python, said, shown = instances
    got = shown["2"]
    is_ordered = python.minor >= (3, 6)

    def object_of(name, of, *attributes):
        text = got[name].replace(said[name][0].rstrip("L"), "HERE")
        if not is_ordered:
            text = "<%s at HERE: %s>" % (of, ", ".join(sorted(text[len(of) + 11:-1].split(", "))))
            attributes = sorted(attributes)
        assert text == "<%s at HERE: %s>" % (of, ", ".join(attributes))

    object_of("plain", "Plain", "b=1", "a='x'")
    object_of("other", "Plain", "a='x'", "b=1")
    object_of("with_dict", "Plain", "b=1", "a='x'", "c=2")
    object_of("slots", "Slots", "p=1", "q=[2]")
    object_of("slots_and_dict", "SlotsAndDict", "p=1", "q=[2]", "r=None")
    object_of("ring", "Plain", "b=1", "a=...")
    object_of("account", "Account", "user='ann'", "api_key='k-1234'", "X_Auth_Token='t-1234'")
    assert got["empty"] == "<Empty at %s>" % said["empty"][0].rstrip("L")
    assert got["many"].startswith("<Many at ") and got["many"].endswith("...") and len(got["many"]) == 256
    assert shown["1"]["plain"] == "<Plain at %s>" % said["plain"][0].rstrip("L")


def test_dataclasses_and_enum_members_are_shown_as_repr_does(instances):
    python, said, shown = instances
    if python.minor < (3, 7):
        pytest.skip("%s has no dataclasses" % python.id)
    for name in "point", "inherited", "inner", "red", "green", "one", "members":
        assert shown["2"][name] == said[name][1]
    assert "secret" not in shown["2"]["point"] + shown["2"]["inherited"]


def test_what_has_a_repr_of_its_own_shows_what_its_base_class_does(instances):
    python, said, shown = instances
    for got in shown.values():
        assert (got["own_text"], got["numbers"]) == ("OwnText('abc')", "Numbers({'a': 1})")
        assert got["function"] == said["function"][1].replace("0L", "0")
        assert got["counter"] in ("Counter({'a': 2, 'b': 1})", "Counter({'b': 1, 'a': 2})")
        assert python.minor < (3, 3) or got["default"] == said["default"][1]
        assert re.fullmatch(r"<(int|long) at 0x[0-9a-f]+>", got["huge"])


def test_values_that_look_like_secrets_are_redacted(instances):
    python, said, shown = instances
    got, plain = shown["2 redact"], shown["2"]
    assert (got["password"], got["Token"], got["count"]) == ("***", "***", "7")
    assert (plain["password"], plain["Token"]) == ("'hunter2'", "5")
    assert got["pair"] == "pair(user='ann', passwd=***)"
    assert plain["pair"] == "pair(user='ann', passwd='hunter2')"
    for part in "'Accept': '*/*'", "'Authorization': ***", "'X-Api-Key': ***", "3: 'three'":
        assert part in got["headers"]
    assert "user='ann'" in got["account"] and got["account"].count("***") == 2
    text = re.sub(r"0x[0-9a-f]+", "", "".join(got.values()))  # an address may hold any digits
    assert "1234" not in text and "hunter" not in text


def test_names_of_secrets(program):
    secret = ["password", "DB_PASSWORD", "passwd", "X-Api-Key", "apiKey", "auth_token", "Authorization", "client_secret",
              "AWS_SECRET_ACCESS_KEY", "private_key", "Set-Cookie", "credentials", "auth", "sessionid"]
    other = ["name", "author", "key", "keys", "monkey", "path", "compass", "passed", "count", "", "h\u00e9"]
    said = subprocess.check_output([program("value_probe"), "secrets", *secret, *other], text=True)
    assert said.splitlines() == secret


CHANGING = """
import collections, sys, threading
def run(things):
    numbers, table, items, queue, text = list(range(50)), {}, set(), collections.deque(), "x"
    print("ready"); sys.stdout.flush()
    n = 0
    while True:
        n += 1
        numbers[n % len(numbers):] = [str(n)] * (n % 50 + 1)
        table[n % 97] = {n: [n] * (n % 9)}
        if n % 89 == 0: table = {}
        items ^= set([n % 61, str(n % 31)])
        queue.append(n % 77); queue.rotate(n % 3)
        if len(queue) > 300: queue.clear()
        text = str(n) * (n % 40)
        things.update(a=numbers, b=table, c=items, d=queue, e=text)
run({})
"""


@each
def test_values_that_change_while_they_are_read_cost_little(python, program):
    with targets.running(python.argv_code(CHANGING)) as t:
        for _ in range(20):
            for variables in shown_by(program, t.pid, 3).values():
                for v in variables:
                    assert 0 < len(v["repr"]) <= 3 * 128
