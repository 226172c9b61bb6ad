"""Knows which caller-callee pairs stress.py can make, and finds impossible pairs in raw stacks."""
import pathlib
import re

STRESS = pathlib.Path(__file__).with_name("stress.py")
FRAME = re.compile(r"^(?P<name>.*) \((?P<file>.*):(?P<line>\d+)\)$")
BARE = re.compile(r"^(?P<name>.*) \((?P<file>.*)\)$")
MADE = re.compile(r"^made_(\d+)$")
# What calls the threads' functions, in threading.py and beside it; 2.7's names begin with two.
STARTS = ("<module>", "_bootstrap", "__bootstrap")
CHANGING = "[changing]"  # in the place of what was called by the part that is shown
CUT_OFF = "the outermost frame is "  # and all that is above it is possible


def text_for(minor):
    """stress.py with the lines that this version needs instead, at the same numbers."""
    lines = []
    for line in STRESS.read_text().splitlines():
        m = re.match(r"( *).*?(  # calls: [^#]*)?  # (\d)\.(\d): (.*)$", line)
        old = m and minor <= (int(m[3]), int(m[4]))
        lines.append(m[1] + m[5] + (m[2] or "") if old else line)
    return "\n".join(lines) + "\n"


def last(name):
    """A function's name without what it is inside of: all that versions before 3.11 know."""
    return name.rpartition(".")[2]


def table():
    """(function, line) -> names it may call there. A line with `inside:` belongs to two functions:
    what it calls as an inner function is kept under the inner one's name."""
    calls = {}
    for number, text in enumerate(STRESS.read_text().splitlines(), 1):
        m = re.search(r"# calls: (.*?)(?:  inside: (.*?))?(?:  # \d\.\d: .*)?$", text)
        if m:
            calls[number] = (m.group(1).split(), (m.group(2) or "").split())
    return calls


def owners():
    """line -> the names of the functions whose body has that line."""
    import ast

    found = {}

    def visit(node, path, module):
        for child in ast.iter_child_nodes(node):
            name = None
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                name = child.name
            elif isinstance(child, ast.Lambda):
                name = "<lambda>"
            elif isinstance(child, ast.GeneratorExp):
                name = "<genexpr>"
            elif isinstance(child, ast.ClassDef):
                visit(child, path + [child.name], False)
                continue
            if name:
                whole = path + [name]
                for line in range(child.lineno, child.end_lineno + 1):
                    found.setdefault(line, set()).add(".".join(whole))
                visit(child, whole + ["<locals>"], False)
            else:
                visit(child, path, module)

    visit(ast.parse(STRESS.read_text()), [], True)
    return found


CALLS, OWNERS = table(), owners()
QUALIFIED = True


def told(names):
    """The names as the version has them: qualified, or their last part."""
    return names if QUALIFIED else {last(name) for name in names}


def is_stress(file):
    return file.endswith("stress.py")


def fault_of_frame(name, file, line):
    made = MADE.match(name)
    if made or file.startswith("<made-"):
        index = re.match(r"<made-(\d+)>$", file)
        if not index:
            return "a made function in %s" % file
        i = int(index.group(1))
        if made and int(made.group(1)) != i:
            return "%s in %s" % (name, file)
        if name not in ("<module>", "made_%d" % i):
            return "%s in %s" % (name, file)
        if made and line not in (0, i + 1, i + 2) or not made and line not in (0, 1, i + 1):
            return "%s at line %d of %s" % (name, line, file)
        return None
    if is_stress(file) and name != "<module>" and line and name not in told(OWNERS.get(line, ())):
        return "%s has no line %d" % (name, line)
    return None


def fault_of_pair(caller, callee):
    name, file, line = caller
    if MADE.match(name):
        want = "helper_odd" if int(MADE.match(name).group(1)) % 2 else "helper_even"
        return None if callee[0] == want else "%s calls %s" % (name, callee[0])
    if file.startswith("<made-"):
        return "%s of %s calls %s" % (name, file, callee[0])
    if not is_stress(file):  # threading.py: it calls short, and its own
        ok = not is_stress(callee[1]) or callee[0] == "short"
        return None if ok else "%s of %s calls %s" % (name, file, callee[0])
    own, inner = CALLS.get(line, ((), ()))
    allowed = told(inner if last(name) in ("<genexpr>", "<lambda>") else own)
    if "*" in allowed:
        return None if not is_stress(callee[1]) else "%s:%d calls %s" % (name, line, callee[0])
    if "made" in allowed and MADE.match(callee[0]):
        return None
    if callee[0] in allowed and (is_stress(callee[1]) or callee[0] == "<module>"):
        return None
    return "%s:%d calls %s (%s)" % (name, line, callee[0], callee[1])


def parse(line):
    stack, _, count = line.rpartition(" ")
    frames = []
    for text in stack.split(";"):
        m = FRAME.match(text)
        bare = None if m else BARE.match(text)  # an instruction without a line
        if m:
            frames.append((m["name"], m["file"], int(m["line"])))
        else:
            frames.append((bare["name"], bare["file"], 0) if bare else (text, "", 0))
    return frames, int(count)


def within(lines):
    """Samples in all; by function, those that it is in; and those in which [changing] may stand for it: it has
    been seen somewhere below the function that had called what changed."""
    total, seen, below, hidden = 0, {}, {}, {}
    for line in lines:
        frames, count = parse(line)
        names = [f[0] for f in frames]
        total += count
        if names[-1] == CHANGING:
            names.pop()
            hidden[tuple(names)] = hidden.get(tuple(names), 0) + count
        for name in set(names):
            seen[name] = seen.get(name, 0) + count
        for i, name in enumerate(names):
            below.setdefault(name, set()).update(names[i + 1:])
    return total, seen, below, hidden


def faults(lines, qualified=True):
    """[(count, what, stack)], the number of samples, and samples by leaf function."""
    global QUALIFIED
    QUALIFIED = qualified
    found, total, leaves = [], 0, {}
    for line in lines:
        frames, count = parse(line)
        total += count
        leaf = MADE.sub("made", frames[-1][0])
        leaves[leaf] = leaves.get(leaf, 0) + count
        if frames[0][0] == "[no Python code]":
            continue
        if frames[-1][0] == CHANGING:
            frames.pop()
        what = None
        for f in frames:
            what = what or fault_of_frame(*f)
        for pair in zip(frames, frames[1:]):
            what = what or fault_of_pair(*pair)
        # A thread that is just beginning may show the C part of its start only.
        if last(frames[0][0]) not in STARTS:
            what = what or CUT_OFF + frames[0][0]
        depth = sum(1 for f in frames if f[0] == "down")
        if any(f[0] == "r1" for f in frames) and depth != 5:
            what = what or "down is %d deep" % depth
        if what:
            found.append((count, what, line))
    return found, total, leaves
