"""Runs inside the interpreter under test: writes every code object of its standard library as
python_probe's `lines` wants it, with the lines that co_positions() tells."""
import array
import os
import struct
import sys
import sysconfig
import warnings


def codes(code):
    yield code
    for const in code.co_consts:
        if isinstance(const, type(code)):
            yield from codes(const)


def write(code, out):
    lines = array.array("I", [p[0] or 0 for p in code.co_positions()])
    # The same by the other of the interpreter's own ways.
    other = array.array("I", bytes(4 * len(lines)))
    for start, end, line in code.co_lines():
        for unit in range(start // 2, end // 2):
            other[unit] = line or 0
    if lines != other:
        sys.exit("co_positions and co_lines differ: %r" % code)
    out.write(struct.pack("III", code.co_firstlineno, len(code.co_linetable), len(lines)))
    out.write(code.co_linetable)
    out.write(lines.tobytes())


def main():
    warnings.simplefilter("ignore")
    out, files = sys.stdout.buffer, 0
    for folder, _, names in sorted(os.walk(sysconfig.get_path("stdlib"))):
        if "site-packages" in folder or "dist-packages" in folder:
            continue
        for name in sorted(names):
            if not name.endswith(".py"):
                continue
            try:
                with open(os.path.join(folder, name), "rb") as f:
                    whole = compile(f.read(), name, "exec", dont_inherit=True)
            except (SyntaxError, ValueError, RecursionError):
                continue  # the test suite holds files that are wrong on purpose
            files += 1
            for code in codes(whole):
                write(code, out)
    if files < 100:
        sys.exit("only %d files: is this the standard library?" % files)


main()
