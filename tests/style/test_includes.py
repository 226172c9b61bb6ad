"""agent, collector and shared include each other only in the directions of docs/architecture.md.

The table there is the rule: what a room may include, it and all that those rooms may include.
"""

import re

import tree

ROW = re.compile(r"^\| `((?:shared|agent|collector)(?:/\w+)?)` \|[^|]*\| ([^|]+) \|$", re.M)


def _table():
    rows = dict(ROW.findall(tree.text("docs/architecture.md")))
    assert len(rows) > 10, "docs/architecture.md has lost its table of rooms"
    return {room: _allowed(cell, rows) for room, cell in rows.items()}


def _allowed(cell, rows):
    """The rooms that one cell of the column names."""
    if cell.strip() == "nothing of ours":
        return set()
    found = set()
    for word in (w.strip(" `") for w in cell.split(",")):
        whole = re.fullmatch(r"all of `?(\w+)", word)
        named = {r for r in rows if r.startswith(whole[1] + "/")} if whole else {word}
        unknown = named - set(rows)
        assert not unknown and named, f"the table allows {word!r}, which is not a room of it"
        found |= named
    return found


def _closure(room, table):
    reached, todo = {room}, list(table[room])
    while todo:
        next_room = todo.pop()
        if next_room not in reached:
            reached.add(next_room)
            todo.extend(table[next_room])
    return reached


def _room(path):
    """The room of a file or of what an include names: the folder two levels down."""
    parts = path.split("/")
    return "/".join(parts[:2]) if len(parts) > 2 else parts[0]


def _is_generated(name, target):
    """protoc's header belongs to the room whose .proto it was made from."""
    stem = target.removesuffix(".pb-c.h")
    return stem != target and any(f.startswith(_room(name) + "/") for f in
                                  tree.files(f"/{stem}.proto"))


def _includes():
    for name in tree.files(".c", ".h"):
        if name.startswith(("shared/", "agent/", "collector/")):
            for line, m in tree.lines_that_match(tree.text(name), r'(?m)^\s*#\s*include\s+"([^"]+)"'):
                yield name, line, m[1]


def test_every_room_is_in_the_table():
    table = _table()
    rooms = {_room(n) for n in tree.files(".c", ".h")
             if n.startswith(("shared/", "agent/", "collector/"))}
    assert not rooms - set(table), "rooms that docs/architecture.md does not list"


def test_the_table_has_no_circle_and_keeps_the_sides_apart():
    table = _table()
    for room in table:
        reached = _closure(room, table) - {room}
        assert not any(room in _closure(r, table) for r in reached), f"{room} reaches itself"
        sides = {r.split("/")[0] for r in reached} | {room.split("/")[0]}
        assert not {"agent", "collector"} <= sides, f"{room} joins agent and collector"
        if room.startswith("shared/"):
            assert sides == {"shared"}, f"{room} reaches out of shared"


def test_includes_follow_the_table():
    table = _table()
    wrong = []
    for name, line, target in _includes():
        if _is_generated(name, target):
            continue
        if not (tree.REPO / target).is_file():
            wrong.append(f"{name}:{line}: {target} is not a path from the root of the repository")
        elif _room(target) not in _closure(_room(name), table):
            wrong.append(f"{name}:{line}: {_room(name)} may not include {target}")
    assert not wrong, "\n".join(wrong)
