"""A static function has a name of its own, of verb and object, and files do not need each other in circles.

grep and a debugger's breakpoint then answer with one place.
"""

import c_source

ONE_WORD_SHARE = 0.05


def _of(**files):
    """Sources as c_source takes them: agent_x_h="..." is the header agent/room/x.h."""
    return {"agent/room/%s.%s" % tuple(name.rsplit("_", 1)): text for name, text in files.items()}


def test_no_static_name_stands_in_two_files():
    double = c_source.doubled_statics(c_source.functions(c_source.working_tree()))
    wrong = [f"{name}: {', '.join(files)}" for name, files in sorted(double.items())]
    assert not wrong, "static functions with one name in several files:\n" + "\n".join(wrong)


def test_few_statics_are_named_by_one_word():
    found = c_source.functions(c_source.working_tree())
    short = c_source.one_word_statics(found)
    share = len(short) / sum(f.is_static for f in found)
    assert share < ONE_WORD_SHARE, "named by one word: say verb and object\n" + "\n".join(
        f"{f.file}:{f.line}: {f.name}" for f in short)


def test_no_files_of_a_room_include_each_other_in_a_circle():
    wrong = c_source.circles(c_source.working_tree())
    assert not wrong, "circles of includes:\n" + "\n".join(" <-> ".join(c) for c in wrong)


# Planted faults: each check finds what it is for, and only that.

def test_a_doubled_static_is_found():
    sources = _of(a_c="static int find_it(void)\n{\n    return 1;\n}\n",
                  b_c="static const char *\nfind_it(int n)\n{\n    return 0;\n}\n",
                  c_c="int find_it(void);\n/* static void find_it(void) { } */\n")
    assert c_source.doubled_statics(c_source.functions(sources)) == {
        "find_it": ["agent/room/a.c", "agent/room/b.c"]}


def test_a_public_function_does_not_double_a_static():
    sources = _of(a_c="static void find_it(void)\n{\n}\n", b_c="void find_it(void)\n{\n}\n")
    assert c_source.doubled_statics(c_source.functions(sources)) == {}


def test_a_static_of_one_word_is_found():
    sources = _of(a_c="static void take(int n)\n{\n    if (n) {\n    }\n}\n"
                      "static void take_all(void)\n{\n}\nvoid give(void)\n{\n}\n"
                      "static struct { int x; } shape = {1};\nint main(void)\n{\n}\n")
    assert [f.name for f in c_source.one_word_statics(c_source.functions(sources))] == ["take"]


def test_a_length_counts_from_the_first_line_to_the_brace():
    sources = _of(a_c='#define BRACE {\nstatic int\nadd(int a,\n    int b)\n{\n    say("}{"); // }\n}\n')
    [f] = c_source.functions(sources)
    assert (f.name, f.line, f.n_lines) == ("add", 2, 6)


CALLS_B = '#include "agent/room/b.h"\nvoid of_a(void)\n{\n    of_b();\n}\n'


def test_a_circle_of_calls_is_found():
    sources = _of(a_c=CALLS_B, a_h="void of_a(void);\n", b_h="void of_b(void);\n",
                  b_c='#include "agent/room/a.h"\nvoid of_b(void)\n{\n    of_a();\n}\n')
    assert c_source.circles(sources) == [["agent/room/a", "agent/room/b"]]


def test_a_circle_through_a_header_is_found():
    sources = _of(a_c=CALLS_B, a_h="struct a { int n; };\n", b_c="void of_b(void)\n{\n}\n",
                  b_h='#include "agent/room/a.h"\nvoid of_b(void);\n')
    assert c_source.circles(sources) == [["agent/room/a", "agent/room/b"]]


def test_a_header_taken_for_its_types_makes_no_circle():
    sources = _of(a_c=CALLS_B, a_h="struct a { int n; };\nvoid of_a(void);\n", b_h="void of_b(void);\n",
                  b_c='#include "agent/room/a.h"\nvoid of_b(void)\n{\n    struct a a;\n}\n')
    assert c_source.circles(sources) == []
