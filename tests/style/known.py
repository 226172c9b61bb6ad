#!/usr/bin/python3
"""What the checks of names and wording still let pass: each list is to become empty and is then removed.

Run, it prints what is left today in the form of the lists below.
"""

import textwrap

# Below this share of the statics may be named by one word.
ONE_WORD_SHARE = 0.05

DOUBLE_STATICS = {}

CIRCLES = []

WIDE_DOCUMENTS = {
    "docs/architecture.md",
}

UNREAD_SOURCES = {}


def _print_list(name, items, brackets="{}"):
    if not items:
        print(f"{name} = {brackets}\n")
        return
    print(f"{name} = {brackets[0]}")
    print(textwrap.fill(", ".join(items), 99, initial_indent="    ", subsequent_indent="    ",
                        break_on_hyphens=False) + ",")
    print(brackets[1] + "\n")


def main():
    import c_source
    import tree
    import wording

    sources = c_source.working_tree()
    found = c_source.functions(sources)
    share = len(c_source.one_word_statics(found)) / sum(f.is_static for f in found)
    print(f"# Named by one word: {share:.3f} of the statics.\n")
    _print_list("DOUBLE_STATICS", [f'"{n}"' for n in sorted(c_source.doubled_statics(found))])
    _print_list("CIRCLES", ["{" + ", ".join(f'"{stem}"' for stem in c) + "}"
                            for c in c_source.circles(sources)], "[]")
    _print_list("WIDE_DOCUMENTS", [f'"{n}"' for n in wording.documents() if n.endswith(".md")
                                   and wording.wide_lines(tree.text(n))])
    _print_list("UNREAD_SOURCES", [f'"{n}"' for n in wording.sources()
                                   if wording.in_c(tree.text(n))])


if __name__ == "__main__":
    main()
