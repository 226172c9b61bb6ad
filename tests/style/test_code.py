"""C, shell and Python are formatted, lint-free and without the functions that are refused here."""

import re
import shutil
import subprocess

import pytest
import tree

# Unbounded writes, hidden state, and conversions that cannot report an error.
BANNED = ("strcpy stpcpy strcat strncpy strncat sprintf vsprintf gets alloca strdupa strndupa atoi "
          "atol atoll atof strtok tmpnam tempnam mktemp localtime gmtime ctime asctime "
          "rand srand scanf fscanf readdir_r").split()
# No shell in the programs; tests may clean up with one.
BANNED_IN_PROGRAMS = "system popen wordexp".split()
LINES_MAX = 1000
# libcurl is used in one room, which checks each option: shared/http/client.h.
CURL_ROOM = "shared/http/"
CURL = r"\bcurl_\w+|\bCURL\w*|<curl/[^>]*>"


def _run(program, *args):
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed: cmake/setup.sh test installs it")
    return subprocess.run([program, *args], cwd=tree.REPO, capture_output=True, text=True)


def _shell_scripts():
    for name in tree.files():
        if name.endswith(".sh"):
            yield name
        elif "." not in name.rsplit("/", 1)[-1]:
            first = (tree.text(name) or "").split("\n", 1)[0]
            if re.fullmatch(r"#!.*\b(ba)?sh( .*)?", first):
                yield name


def test_c_is_formatted():
    got = _run("clang-format", "--dry-run", "--Werror", *tree.files(".c", ".h"))
    assert got.returncode == 0, "run `make format`:\n" + got.stderr[:4000]


def test_banned_functions_are_not_called():
    wrong = []
    for name in tree.files(".c", ".h"):
        banned = BANNED + ([] if name.startswith("tests/") else BANNED_IN_PROGRAMS)
        calls = r"(?<![\w.>])(" + "|".join(banned) + r")\s*\("
        wrong += [f"{name}:{line}: {m[1]}"
                  for line, m in tree.lines_that_match(tree.code(name), calls)]
    assert not wrong, "refused functions:\n" + "\n".join(wrong)


def _uses_of_curl(sources):
    """What {name: C} uses of libcurl outside of its room, as FILE:LINE: NAME."""
    return [f"{name}:{line}: {m[0]}" for name, body in sources.items()
            if not name.startswith((CURL_ROOM, "tests/"))
            for line, m in tree.lines_that_match(tree.without_comments(body), CURL)]


def test_libcurl_is_used_in_one_room():
    wrong = _uses_of_curl({name: tree.text(name) for name in tree.files(".c", ".h")})
    assert not wrong, "use shared/http/client.h instead of\n" + "\n".join(wrong)


def test_no_source_is_too_long_to_hold_in_mind():
    long = [n for n in tree.files(".c", ".h", ".py", ".sh", ".js")
            if tree.text(n).count("\n") > LINES_MAX]
    assert not long, f"more than {LINES_MAX} lines: {long}"


def test_shell_scripts_pass_shellcheck():
    got = _run("shellcheck", *_shell_scripts())
    assert got.returncode == 0, got.stdout


def test_python_passes_pyflakes():
    got = _run("/usr/bin/python3", "-m", "pyflakes", *tree.files(".py"))
    assert got.returncode == 0, got.stdout + got.stderr


# Planted faults: the check finds what it is for, and only that.

def test_a_use_of_libcurl_outside_its_room_is_found():
    planted = ("#include <curl/curl.h>\nvoid f(CURL *c)\n{\n    curl_easy_setopt(c, 1, 2);\n"
               "    curl_global_init(0);\n}\n")
    assert _uses_of_curl({"agent/upload/push.c": planted}) == [
        "agent/upload/push.c:1: <curl/curl.h>", "agent/upload/push.c:2: CURL",
        "agent/upload/push.c:4: curl_easy_setopt", "agent/upload/push.c:5: curl_global_init"]


def test_libcurl_may_be_used_in_its_room_and_named_in_comments_and_texts():
    assert _uses_of_curl({"shared/http/client.c": "curl_easy_init();"}) == []
    assert _uses_of_curl({"agent/cli/a.c": '// curl_easy_init\nsay("curl_easy_init");\n'}) == []
