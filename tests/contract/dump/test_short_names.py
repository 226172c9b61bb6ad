"""File names are short as py-spy's: cut above the topmost package, as the root of the target has it."""

import json
import os
import pathlib
import re
import shutil

import pytest

import pythons
import targets

FILES = {
    "top/pkg/__init__.py": "",
    "top/pkg/sub/__init__.py": "",
    "top/pkg/sub/deep.py": "def deep(then): then()\n",
    "top/pkg/space/mod.py": "def spaced(then): then()\n",  # a namespace package: it ends the search
    "top/plain.py": "def plain(then): then()\n",
    "main.py": """
import os, shutil, sys, time
here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here + "/top")
from pkg.sub.deep import deep
from pkg.space.mod import spaced
from plain import plain
os.chdir(here + "/top")
scope = {}
exec(compile("def relative(then): then()", "pkg/sub/made.py", "exec"), scope)
exec(compile("def unnamed(then): then()", "<string/of a program>", "exec"), scope)
def wait():
    print("ready", flush=True)
    time.sleep(600)
def work():
    end = time.time() + 1.5
    while time.time() < end: pass
    shutil.rmtree(here)
if __name__ == "__main__":
    last = work if "work" in sys.argv else wait
    deep(lambda: spaced(lambda: plain(lambda: scope["relative"](lambda: scope["unnamed"](last)))))
""",
}
SHORT = {"deep": "pkg/sub/deep.py", "spaced": "mod.py", "plain": "plain.py", "relative": "pkg/sub/made.py",
         "unnamed": "<string/of a program>", "<module>": "main.py"}
SOME = [p for p in pythons.supported() if p.id.startswith(("debian", "sid-3.14"))]


def placed(python, tmp_path):
    """The files where the interpreter finds them: (its name of the folder, ours)."""
    outside = pathlib.Path(pythons._folder_in(python.root) if python.root else tmp_path, "app")
    for name, text in FILES.items():
        (outside / name).parent.mkdir(parents=True, exist_ok=True)
        (outside / name).write_text(text)
    return "/" + str(outside.relative_to(python.root or "/")), outside


@pytest.mark.parametrize("python", SOME, ids=pythons.id_of)
def test_what_is_above_the_topmost_package_is_cut(python, podspy, tmp_path):
    inside, outside = placed(python, tmp_path)
    try:
        with targets.running([*python.prefix, python.path, inside + "/main.py"]) as t:
            targets.wait_for(lambda: targets.state_of(t.pid) == "S")
            [thread] = json.loads(targets.run([podspy, "dump", "-j", "-p", str(t.pid)]).stdout)
            text = targets.run([podspy, "dump", "-p", str(t.pid)]).stdout.decode()
            full = targets.run([podspy, "dump", "--full-filenames", "-p", str(t.pid)]).stdout.decode()
        frames = {f["name"]: f for f in thread["frames"] if "lambda" not in f["name"]}
        assert {name: frames[name]["short_filename"] for name in SHORT} == SHORT
        assert frames["deep"]["filename"] == inside + "/top/pkg/sub/deep.py"
        for name, short in SHORT.items():
            assert "    %s (%s:" % (name, short) in text
            assert "    %s (%s:" % (name, frames[name]["filename"]) in full
    finally:
        shutil.rmtree(outside)


def test_record_remembers_the_packages_of_a_program_that_has_ended(podspy, tmp_path):
    inside, outside = placed(SOME[0], tmp_path)
    argv = [podspy, "record", "-f", "raw", "-o", "-", "--", SOME[0].path, inside + "/main.py", "work"]
    looks = tmp_path / "looks"
    if shutil.which("strace") and not os.environ.get("PODSPY_SANITIZE"):  # under ptrace LeakSanitizer fails
        argv = ["strace", "-o", looks, "-e", "trace=openat2", *argv]
    r = targets.run(argv)
    assert r.returncode == 0 and not outside.exists(), r.stderr
    for name, short in SHORT.items():
        assert re.search(r"(^|;)%s \(%s:\d+\)" % (name, re.escape(short)), r.stdout.decode(), re.M), r.stdout
    if looks.exists():  # a folder is looked at once by itself and once from below, not for each sample
        paths = re.findall(r'"(/tmp/[^"]*__init__.py)"', looks.read_text())
        assert paths and len(paths) <= 2 * len(set(paths)), paths
