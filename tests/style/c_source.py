"""Functions and includes of C sources, as the checks and figures.py need them.

All functions here take {path: text}, so that a test can hand in a planted fault.
"""

import collections
import io
import re
import subprocess
import tarfile

import tree

ROOMS = ("agent/", "collector/", "shared/")

Function = collections.namedtuple("Function", "file line name is_static n_lines")

_NOT_A_NAME = {"if", "for", "while", "switch", "sizeof", "__attribute__", "_Alignas", "_Static_assert"}
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.M)
_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def working_tree(rooms=ROOMS):
    """{path: text} of the C sources of the programs as they are on disk."""
    return {n: tree.text(n) for n in tree.files(".c", ".h") if n.startswith(rooms)}


def revision(rev, rooms=ROOMS):
    """The same as of a git revision. Raises subprocess.CalledProcessError where git does not know it."""
    folders = [room.rstrip("/") for room in rooms]
    packed = subprocess.run(["git", "-C", tree.REPO, "-c", f"safe.directory={tree.REPO}", "archive",
                             "--format=tar", rev, *folders], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        return {m.name: tar.extractfile(m).read().decode() for m in tar
                if m.isfile() and m.name.endswith((".c", ".h"))}


def _function_name(head):
    """The name in the text before a function's brace; None for a struct, an enum or an initializer."""
    if "=" in head or ")" not in head:
        return None
    names = [n for n in re.findall(r"([A-Za-z_]\w*)\s*\(", head) if n not in _NOT_A_NAME]
    return names[0] if names else None


def _functions_of(file, text):
    code = _DIRECTIVE.sub(lambda m: "\n" * m[0].count("\n"), tree.without_comments(text))
    depth, head_at, found, name = 0, 0, [], None
    for m in re.finditer(r"[{};]", code):
        if m[0] == "{":
            if depth == 0:
                head = code[head_at:m.start()]
                name = _function_name(head)
                first = head_at + len(head) - len(head.lstrip())
            depth += 1
        elif m[0] == "}":
            depth -= 1
            if depth == 0 and name:
                is_static = re.match(r"\s*(\w+\s+)*?static\b", code[first:]) is not None
                found.append(Function(file, code.count("\n", 0, first) + 1, name, is_static,
                                      code.count("\n", first, m.end()) + 1))
                head_at, name = m.end(), None
            elif depth == 0:
                head_at = m.end()
        elif depth == 0:
            head_at = m.end()
    return found


def functions(sources):
    """[Function]: every definition; its length counts from its first line to its closing brace."""
    return [f for file, text in sorted(sources.items()) for f in _functions_of(file, text)]


def doubled_statics(found):
    """{name: [file]} of the static functions whose name stands in more than one file."""
    files = collections.defaultdict(set)
    for f in found:
        if f.is_static:
            files[f.name].add(f.file)
    return {name: sorted(places) for name, places in files.items() if len(places) > 1}


def one_word_statics(found):
    """[Function]: the static functions named by one word, such as `find`; main is not a choice."""
    return [f for f in found if f.is_static and "_" not in f.name.strip("_") and f.name != "main"]


def _stem(path):
    return path.rsplit(".", 1)[0]


def _folder(path):
    return path.rpartition("/")[0]


def circles(sources):
    """[[stem]]: files of one room that need each other's headers in a circle; x.c and x.h are `x`.

    A header needs each header that it includes. A .c file needs those with a function that it uses;
    a header that it includes for the types of its room makes no circle.
    """
    defined = collections.defaultdict(set)
    for f in functions(sources):
        if not f.is_static:
            defined[_stem(f.file)].add(f.name)
    edges = collections.defaultdict(set)
    for file, text in sources.items():
        words = set(re.findall(r"\w+", tree.without_comments(text)))
        for target in map(_stem, _INCLUDE.findall(text)):
            needs = file.endswith(".h") or words & defined[target]
            if needs and target != _stem(file) and _folder(target) == _folder(file):
                edges[_stem(file)].add(target)

    def reached_from(start):
        reached, todo = set(), list(edges[start])
        while todo:
            stem = todo.pop()
            if stem not in reached:
                reached.add(stem)
                todo.extend(edges[stem])
        return reached

    reach = {stem: reached_from(stem) for stem in list(edges)}
    groups = {tuple(sorted({stem} | {o for o in reach[stem] if stem in reach.get(o, ())}))
              for stem in reach if stem in reach[stem]}
    return sorted(list(g) for g in groups)
