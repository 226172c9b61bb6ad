#!/usr/bin/python3
"""figures.py [--rev REV]...: the sizes and names of the C functions of agent, collector and shared, as a table.

Without --rev: of the working tree. With it, a column for each revision and the last one for the working tree,
so that before and after stand side by side:

    tests/style/figures.py --rev main
"""

import argparse
import statistics
import subprocess
import sys

import c_source

LONG = 60  # lines: a function over this is seldom easy to hold in mind


def _percent(part, whole):
    return "%.2f %%" % (100 * part / whole if whole else 0)


def measured(sources):
    """[(what, figure)] of {path: text}."""
    found = c_source.functions(sources)
    lengths = sorted(f.n_lines for f in found)
    statics = [f for f in found if f.is_static]
    double = c_source.doubled_statics(found)
    in_double = sum(f.name in double for f in statics)
    return [
        ("files", str(len(sources))),
        ("functions", str(len(found))),
        ("lines of a function, median", "%g" % statistics.median(lengths)),
        ("lines of a function, p90", str(lengths[int(0.9 * (len(lengths) - 1))])),
        ("lines of a function, longest", str(lengths[-1])),
        (f"functions over {LONG} lines", _percent(sum(n > LONG for n in lengths), len(lengths))),
        ("static functions", str(len(statics))),
        ("statics named by one word", _percent(len(c_source.one_word_statics(found)), len(statics))),
        ("static names in several files", str(len(double))),
        ("statics with such a name", _percent(in_double, len(statics))),
        ("circles of includes in a room", str(len(c_source.circles(sources)))),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rev", action="append", default=[], help="a git revision to compare with")
    revs = parser.parse_args().rev
    try:
        columns = [(rev, measured(c_source.revision(rev))) for rev in revs]
    except subprocess.CalledProcessError as e:
        sys.exit(f"figures.py: {e.stderr.decode().strip()}")
    columns.append(("working tree", measured(c_source.working_tree())))
    print("%-32s" % "" + "".join("%16s" % title[:15] for title, _ in columns))
    for row in zip(*(rows for _, rows in columns)):
        print("%-32s" % row[0][0] + "".join("%16s" % figure for _, figure in row))


if __name__ == "__main__":
    main()
