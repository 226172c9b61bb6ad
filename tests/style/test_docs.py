"""Documents lead somewhere: links point at files and headings that exist, man pages are well-formed."""

import re
import shutil
import subprocess

import pytest
import tree

LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
PATH = re.compile(r"(?<![\w/.~-])((?:agent|collector|shared|tests|cmake|deploy)/[\w./-]*\w)(?![\w?])")
SECTIONS = ["Context", "Decision", "Alternatives", "Consequences", "Evidence"]  # of a decision record
REQUIRED = ["Context", "Decision", "Consequences"]
FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)


def _anchors(body):
    """The anchors that a page of Markdown gives its headings."""
    for heading in re.findall(r"^#{1,6} +(.*?)\s*#*$", FENCE.sub("", body), re.M):
        words = re.sub(r"[^\w\- ]", "", heading.lower())
        yield words.replace(" ", "-")


def _problem(name, target):
    if re.match(r"[a-z]+:", target):
        return None
    path, _, anchor = target.partition("#")
    file = (tree.REPO / name).parent / path if path else tree.REPO / name
    if not file.exists():
        return f"{name}: {target} does not exist"
    if anchor and file.suffix == ".md" and anchor not in set(_anchors(file.read_text())):
        return f"{name}: {target} has no such heading"
    return None


def test_links_point_at_what_exists():
    wrong = [_problem(name, target) for name in tree.files(".md")
             for target in LINK.findall(FENCE.sub("", tree.text(name)))]
    wrong = [w for w in wrong if w]
    assert not wrong, "\n".join(wrong)


def _missing_paths(body):
    """The paths of this repository that a document names and that do not exist; NAME stands for any name, and fences
    hold examples."""
    return [path for path in PATH.findall(FENCE.sub("", body))
            if not re.search("[A-Z]{3}", path) and not (tree.REPO / path).exists()]


def test_paths_in_documents_exist():
    wrong = [f"{name}: {path}" for name in tree.files(".md") if name != "CHANGELOG.md"
             for path in _missing_paths(tree.text(name))]
    assert not wrong, "\n".join(wrong)


def test_a_path_that_does_not_exist_is_found():
    assert _missing_paths("see `agent/none.c`, tests/style and tests/unit/ROOM.") == ["agent/none.c"]


def _not_in_the_index(pages, index):
    """The pages of docs/ that docs/README.md does not link."""
    linked = {target.partition("#")[0] for target in LINK.findall(index)}
    return [p for p in pages if p.removeprefix("docs/") not in linked | {"README.md"}]


def test_the_index_links_every_page():
    pages = [n for n in tree.files(".md") if re.fullmatch(r"docs/[^/]+", n)]
    assert _not_in_the_index(pages, tree.text("docs/README.md")) == []
    assert "docs/README.md" in LINK.findall(tree.text("README.md"))


def test_a_page_that_the_index_lacks_is_found():
    assert _not_in_the_index(["docs/README.md", "docs/a.md", "docs/b.md"], "[A](a.md#x)") == ["docs/b.md"]


def test_decisions_are_numbered_without_a_gap():
    numbers = [int(n.split("/")[-1][:4]) for n in tree.files(".md") if n.startswith("docs/adr/")]
    assert numbers == list(range(1, len(numbers) + 1))


def _wrong_form(name, body):
    """What keeps a decision record from having the form of record 1, or None."""
    sections = re.findall(r"^## (.*)$", body, re.M)
    if not re.match(r"# \d+\. \S.*\n\nStatus: (accepted|replaced by \d{4}), \w+ \d{4}\.", body):
        return f"{name}: no title and status line"
    if sections != [s for s in SECTIONS if s in sections] or not set(sections) >= set(REQUIRED):
        return f"{name}: sections are {sections}, not {SECTIONS}"
    return None


def test_decisions_have_one_form():
    wrong = [_wrong_form(n, tree.text(n)) for n in tree.files(".md") if n.startswith("docs/adr/")]
    assert not any(wrong), "\n".join(w for w in wrong if w)


def test_another_form_of_a_decision_is_found():
    good = "# 1. It is so\n\nStatus: accepted, May 2026.\n\n" + "".join(
        f"## {section}\n\nText.\n\n" for section in REQUIRED)
    assert _wrong_form("x", good) is None
    assert _wrong_form("x", good.replace("Status: a", "A"))
    assert _wrong_form("x", good.replace("## Context", "## Reasons"))
    assert _wrong_form("x", good + "## Alternatives\n")


def test_man_pages_are_well_formed():
    pages = [n for n in tree.files() if re.fullmatch(r"docs/man/.*\.[1-9]", n)]
    assert pages, "docs/man holds no page"
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not installed: cmake/setup.sh test installs it")
    got = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", *pages], cwd=tree.REPO,
                         capture_output=True, text=True)
    assert got.returncode == 0, got.stdout
