"""The files of the repository, as the style tests see them."""

import os
import pathlib
import re
import subprocess

REPO = pathlib.Path(__file__).resolve().parents[2]
LEFT_OUT = {".git", "build", "node_modules", "__pycache__", ".pytest_cache", ".hypothesis"}


def _walk():
    for folder, folders, names in os.walk(REPO):
        folders[:] = [f for f in folders if f not in LEFT_OUT]
        for name in names:
            yield (pathlib.Path(folder) / name).relative_to(REPO).as_posix()


def files(*suffixes):
    """Paths relative to REPO of what is tracked or about to be, by suffix; all without suffixes."""
    git = subprocess.run(["git", "-C", REPO, "-c", f"safe.directory={REPO}", "ls-files", "-co",
                          "--exclude-standard", "-z"], capture_output=True, text=True)
    names = git.stdout.split("\0") if git.returncode == 0 else _walk()
    return sorted(n for n in names if n and (not suffixes or n.endswith(suffixes))
                  and (REPO / n).is_file())


def text(name):
    """The text of a file, or None where it is not UTF-8."""
    data = (REPO / name).read_bytes()
    try:
        return None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return None


_COMMENT_OR_STRING = re.compile(
    r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def without_comments(body):
    """C without comments and without what stands in strings; the lines keep their numbers."""
    return _COMMENT_OR_STRING.sub(
        lambda m: (" " if m[0].startswith("/") else '""') + "\n" * m[0].count("\n"), body)


def comments_and_strings(body):
    """[(line number, text)] of C: what people read in a source, its log lines and its errors."""
    return [(body.count("\n", 0, m.start()) + 1, m[0]) for m in _COMMENT_OR_STRING.finditer(body)]


def code(name):
    """without_comments of a file."""
    return without_comments(text(name))


def lines_that_match(body, pattern):
    """[(line number, match)]"""
    return [(body.count("\n", 0, m.start()) + 1, m) for m in re.finditer(pattern, body)]
