"""Runs inside the interpreter under test, from 2.7 on: writes every code object of its standard
library as python_probe's `lines` wants it, with the lines that the interpreter itself tells:
co_lines() (3.10+), else dis.findlinestarts(); from 3.11 on all that co_positions() tells, too.
With the argument "modules" only of its modules, not of its packages; "library": without its tests."""
import array
import dis
import os
import struct
import sys
import sysconfig
import warnings

UNIT = 2 if sys.version_info >= (3, 6) else 1


def codes(code):
    yield code
    for const in code.co_consts:
        if isinstance(const, type(code)):
            for inner in codes(const):
                yield inner


def by_lines(code):
    lines = array.array("I", [0]) * (len(code.co_code) // UNIT)
    for start, end, line in code.co_lines():
        for unit in range(start // UNIT, end // UNIT):
            lines[unit] = line or 0
    return lines


def positions_of(code):
    """Line, end line, column, end column of each unit; -1 for None."""
    return array.array("i", [-1 if n is None else n for p in code.co_positions() for n in p])


def by_starts(code):
    """A line holds from where it starts to where the next does."""
    lines = array.array("I", [0]) * (len(code.co_code) // UNIT)
    starts = dict(dis.findlinestarts(code))
    line = code.co_firstlineno
    for unit in range(len(lines)):
        line = starts.get(unit * UNIT, line)
        lines[unit] = line
    return lines


def lines_of(code):
    if sys.version_info < (3, 10):
        return by_starts(code)
    return by_lines(code)


def write(code, out):
    lines = lines_of(code)
    table = code.co_linetable if sys.version_info >= (3, 10) else code.co_lnotab
    out.write(struct.pack("III", code.co_firstlineno, len(table), len(lines)))
    out.write(table)
    out.write(lines.tobytes() if hasattr(lines, "tobytes") else lines.tostring())
    if sys.version_info >= (3, 11):
        positions = positions_of(code)
        if len(positions) != 4 * len(lines):
            sys.exit("co_positions and co_lines differ: %r" % code)
        out.write(positions.tobytes())


def main():
    warnings.simplefilter("ignore")
    out, files = getattr(sys.stdout, "buffer", sys.stdout), 0
    for folder, _, names in sorted(os.walk(sysconfig.get_path("stdlib"))):
        if "site-packages" in folder or "dist-packages" in folder:
            continue
        if "modules" in sys.argv[1:] and folder != sysconfig.get_path("stdlib"):
            continue
        if "library" in sys.argv[1:] and "test" in folder:
            continue
        for name in sorted(names):
            if not name.endswith(".py"):
                continue
            try:
                with open(os.path.join(folder, name), "rb") as f:
                    whole = compile(f.read(), name, "exec", 0, True)
            except (SyntaxError, ValueError, TypeError, RuntimeError):
                continue  # the test suite holds files that are wrong on purpose
            files += 1
            for code in codes(whole):
                write(code, out)
    if files < 100:
        sys.exit("only %d files: is this the standard library?" % files)


main()
