"""podspy dump --locals: the variables of each frame, equal to what the program itself says of them."""

import json
import os
import re
import shutil
import subprocess

import pytest

import pythons
import targets

HERE = os.path.dirname(os.path.abspath(__file__))
SUPPORTED = pythons.few() if os.environ.get("PODSPY_SANITIZE") else pythons.supported()
each = pytest.mark.parametrize("python", SUPPORTED, ids=pythons.id_of)
# Prints the repr of its variables, as JSON, and stands still. The syntax is that of 2.7 as well.
PROGRAM = """
import json, sys, time
def stand(first, second, *rest, **named):
    number, text, flag, nothing, real = 7, "it's", True, None, 0.1
    few, pair, table, raw = [1, "two"], (1, 2), {"a": [1]}, b"raw"
    def inner(password):
        shared = few
        seen = {name: repr(value) for name, value in outside.items()}
        sys.stdout.write(json.dumps([seen, {"password": repr(password), "shared": repr(shared)}]) + "\\n")
        sys.stdout.flush()
        time.sleep(900)
    outside = dict(locals())
    del outside["inner"]
    inner("hunter2")
stand(1, "2", 3, 4, key=5)
"""


def dump(podspy, pid, *flags):
    done = targets.run([podspy, "dump", "-p", str(pid), *flags])
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def frames_of(podspy, pid, *flags):
    [thread] = json.loads(dump(podspy, pid, "-j", *flags))
    return {f["name"].rpartition(".")[2]: f for f in thread["frames"]}


def reprs(frame):
    return {v["name"]: v["repr"] for v in frame["locals"]}


@each
def test_names_and_values_are_those_of_the_program(python, podspy):
    with targets.running(python.argv_code(PROGRAM)) as t:
        outside, inside = t.said
        frames = frames_of(podspy, t.pid, "-l")
        shown = reprs(frames["stand"])
        for later in ("inner", "outside"):
            assert shown.pop(later)
        assert shown == outside
        shown = reprs(frames["inner"])
        assert {name: shown[name] for name in inside} == inside
        arguments = [v["name"] for v in frames["stand"]["locals"] if v["arg"]]
        assert arguments == ["first", "second", "rest", "named"]
        cells = {v["name"] for v in frames["stand"]["locals"] if v["cell"]}
        assert cells == {"few", "outside"}


@each
def test_redact_hides_what_looks_like_a_secret(python, podspy):
    with targets.running(python.argv_code(PROGRAM)) as t:
        assert "            password: 'hunter2'\n" in dump(podspy, t.pid, "-l")
        assert "            password: ***\n" in dump(podspy, t.pid, "-l", "--redact")


def test_without_the_option_there_are_none(podspy):
    with targets.running(["/usr/bin/python3", "-c", PROGRAM]) as t:
        assert "Arguments:" not in dump(podspy, t.pid)
        assert all(f["locals"] is None for f in frames_of(podspy, t.pid).values())


def test_the_text_has_arguments_and_locals_apart(podspy):
    with targets.running(["/usr/bin/python3", "-c", PROGRAM]) as t:
        text = dump(podspy, t.pid, "--locals")
        assert ("        Arguments:\n            first: 1\n            second: '2'\n            rest: (3, 4)\n"
                "            named: {'key': 5}\n        Locals:\n            number: 7\n") in text


def test_more_of_a_value_is_shown_with_each_l(podspy):
    code = "import time\ndef f():\n    long = list(range(1000))\n    print('ready', flush=True)\n    time.sleep(900)\nf()"
    with targets.running(["/usr/bin/python3", "-c", code]) as t:
        targets.wait_for(lambda: targets.state_of(t.pid) == "S")
        lengths = [len(reprs(frames_of(podspy, t.pid, *n)["f"])["long"]) for n in (["-l"], ["-ll"], ["-l"] * 5, ["-" + "l" * 40])]
        assert lengths == [128, 256, 640, 32 * 128]  # 32 levels are the most


def state_of(pid):
    with open("/proc/%d/status" % pid) as f:
        return dict(line.split(":\t", 1) for line in f if ":\t" in line)


@pytest.mark.parametrize("flags", [[], ["--nonblocking"], ["--blocking"]], ids=str)
def test_a_busy_program_is_read_and_let_go(podspy, flags):
    code = ("import time\ndef busy(limit):\n    table = {}\n    n = 0\n    while True:\n        n += 1\n        table[n % 100] = [n]\n"
            "print('ready', flush=True)\nbusy(3)")
    with targets.running(["/usr/bin/python3", "-c", code]) as t:
        for _ in range(5):
            shown = reprs(frames_of(podspy, t.pid, "-l", *flags)["busy"])
            assert shown["limit"] == "3"
            if "--nonblocking" not in flags:
                assert shown["n"].isdigit() and shown["table"].startswith("{")
        targets.wait_for(lambda: state_of(t.pid)["State"].startswith("R"))
        assert state_of(t.pid)["TracerPid"].strip() == "0"


def test_a_thread_is_held_for_a_tenth_of_a_second_at_most(podspy):
    """Thousands of frames with large values take longer; the rest is left out."""
    code = ("import sys, time, threading\nsys.setrecursionlimit(20000)\nbig = {i: [str(i)] * 20 for i in range(3000)}\n"
            "def deep(n, a, b, c, d, e):\n    return deep(n - 1, a, b, c, d, e) if n else (print('ready', flush=True), time.sleep(900))\n"
            "threading.stack_size(512 << 20)\nthreading.Thread(target=deep, args=(6000,) + (big,) * 5).start()")
    with targets.running(["/usr/bin/python3", "-c", code]) as t:
        text = dump(podspy, t.pid, "-" + "l" * 32)
        assert "no more values: a thread is held for 100 ms at most" in text
        assert text.count("    deep (") > 5900


@pytest.mark.skipif(not shutil.which("gcore"), reason="gcore (Debian: gdb) is not here")
def test_a_core_file_has_them_as_well(podspy, tmp_path):
    with targets.running(["/usr/bin/python3", "-c", PROGRAM]) as t:
        outside, _ = t.said
        subprocess.run(["gcore", "-o", tmp_path / "g", str(t.pid)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        done = targets.run([podspy, "dump", "-l", "-j", "--core", tmp_path / ("g.%d" % t.pid)])
        assert done.returncode == 0, done.stderr
        [thread] = json.loads(done.stdout)
        [stand] = [f for f in thread["frames"] if f["name"] == "stand"]
        shown = reprs(stand)
        assert {name: shown[name] for name in outside} == outside


def test_names_and_values_drive_no_terminal(podspy):
    code = "import time\ndef f():\n    red = '\\x1b[31m\\u202e'\n    print('ready', flush=True)\n    time.sleep(900)\nf()"
    with targets.running(["/usr/bin/python3", "-c", code]) as t:
        text = dump(podspy, t.pid, "-l")
        assert "red: '\\x1b[31m\\u202e'" in text


TYPES = """
import collections, dataclasses, sys, time
import numpy
@dataclasses.dataclass
class Point:
    x: int
    y: str
class Plain:
    def __init__(self): self.a, self.b = 1, [2]
def stand():
    raw, some, frozen, huge, z = b"\\x00raw", {1}, frozenset([2]), -(1 << 200), 1.5 - 2j
    queue, point, plain = collections.deque([1, 2], 5), Point(3, "four"), Plain()
    f64, f32, i8, u16, yes = numpy.float64(0.1), numpy.float32(0.5), numpy.int8(-3), numpy.uint16(65535), numpy.bool_(True)
    matrix, row = numpy.zeros((2, 3), "int32"), numpy.ones(4)
    print("ready", flush=True)
    time.sleep(900)
stand()
"""
ALIKE = {
    "raw": r"b'\x00raw'", "some": "{1}", "frozen": "frozenset({2})", "huge": str(-(1 << 200)), "z": "(1.5-2j)",
    "queue": "deque([1, 2], maxlen=5)", "f64": "0.1", "f32": "0.5", "i8": "-3", "u16": "65535", "yes": "True",
    "matrix": "<numpy.ndarray shape=(2, 3) dtype=int32>", "row": "<numpy.ndarray shape=(4,) dtype=float64>"}


def test_each_type_is_shown_by_its_value(podspy):
    with targets.running(["/usr/bin/python3", "-c", TYPES]) as t:
        shown, more = (reprs(frames_of(podspy, t.pid, n)["stand"]) for n in ("-l", "-ll"))
    assert {name: shown[name] for name in ALIKE} == ALIKE and {name: more[name] for name in ALIKE} == ALIKE
    assert more["point"] == "Point(x=3, y='four')"
    assert re.fullmatch(r"<Plain at 0x[0-9a-f]+: a=1, b=\[2\]>", more["plain"])
    assert re.fullmatch(r"<Point at 0x[0-9a-f]+>", shown["point"])


ASYNC = """
import asyncio, sys, time
def hold(held): print("ready", flush=True); time.sleep(900)
async def numbers(start):
    for i in range(start, start + 9):
        hold(i)
        yield i
async def awaits(first, *, key):
    kept = [first]
    def inner(): return kept
    async for n in numbers(5):
        kept.append(n)
def generator(): yield from (asyncio.run(awaits(x, key="k")) for x in [7])
list(generator())
"""


@pytest.mark.parametrize("python", [p for p in SUPPORTED if p.minor in [(3, 7), (3, 10), (3, 11), (3, 13), (3, 15)]],
                         ids=pythons.id_of)
def test_coroutines_and_generators_have_variables(python, podspy):
    with targets.running(python.argv_code(ASYNC)) as t:
        frames = frames_of(podspy, t.pid, "-l")
        text = dump(podspy, t.pid, "-l")
    assert reprs(frames["numbers"]) == {"start": "5", "i": "5"}
    awaits = {v["name"]: v for v in frames["awaits"]["locals"]}
    assert (awaits["first"]["repr"], awaits["key"]["repr"], awaits["kept"]["repr"]) == ("7", "'k'", "[7]")
    assert [v["name"] for v in awaits.values() if v["arg"]] == ["first", "key"]
    assert awaits["kept"]["cell"] and not awaits["kept"]["free"]
    assert "            kept (cell): [7]\n" in text and "            held: 5\n" in text
    assert reprs(frames["<genexpr>"])["x"] == "7"


FREE = "import time\ndef outer(a):\n    def inner():\n        print(a, flush=True)\n        time.sleep(900)\n    inner()\nouter(4)"


@pytest.mark.parametrize("python", pythons.few(), ids=pythons.id_of)
def test_free_variables_are_marked(python, podspy):
    code = FREE if python.minor >= (3, 0) else FREE.replace("print(a, flush=True)", "import sys; sys.stdout.write('%d\\n' % a); sys.stdout.flush()")
    with targets.running(python.argv_code(code)) as t:
        [outer] = frames_of(podspy, t.pid, "-l")["outer"]["locals"][:1]
        text = dump(podspy, t.pid, "-l")
    assert (outer["name"], outer["arg"], outer["cell"]) == ("a", True, True)
    assert "            a (free): 4\n" in text and "        Arguments:\n            a (cell): 4\n" in text
