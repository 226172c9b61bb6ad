"""Files hold clean text, and nothing that is true on one machine only."""

import re

import tree

# Written in pieces, so that this file does not hold what it looks for.
PLACES = re.compile("|".join([
    r"(?:^|[\s\"'=:(,])/" + r"(?:root|home/\w+)/",
    r"/" + r"work/(?:main|wt|shared|\.)",
    r"\bdeb" + r"\.debian\.org", r"\bsnapshot" + r"\.debian\.org", r"\bpypi" + r"\.org",
    r"\bpythonhosted" + r"\.org", r"\bregistry" + r"\.npmjs", r"\bnodesource" + r"\.com",
    r"\bproxy" + r"\.golang\.org", r"\bcrates" + r"\.io",
]), re.M)
BINARY = (".png", ".gz", ".zst", ".db", ".bin", ".pb", ".core")


def _texts():
    for name in tree.files():
        body = None if name.endswith(BINARY) or name.startswith("tests/data/") else tree.text(name)
        if body is not None:
            yield name, body


def test_nothing_names_a_path_of_one_machine_or_a_package_host():
    wrong = [f"{name}:{body.count(chr(10), 0, m.start(0)) + 1}: {m[0].strip()}"
             for name, body in _texts() for m in PLACES.finditer(body)]
    assert not wrong, "\n".join(wrong)


def test_lines_end_cleanly():
    wrong = []
    for name, body in _texts():
        if body and not body.endswith("\n"):
            wrong.append(f"{name}: no newline at its end")
        wrong += [f"{name}:{line}: space at the end of the line"
                  for line, _ in tree.lines_that_match(body, r"[ \t\r]+\n")]
    assert not wrong, "\n".join(wrong)


def test_only_the_agreed_names_are_at_the_top():
    agreed = set("agent collector shared deploy tests docs cmake CMakeLists.txt CMakePresets.json "
                 "LICENSE Makefile README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md .ci "
                 ".clang-format .editorconfig .gitignore".split())
    assert {n.split("/")[0] for n in tree.files()} <= agreed
