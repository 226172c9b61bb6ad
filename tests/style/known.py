#!/usr/bin/python3
"""What the checks of names and wording still let pass: each list is to become empty and is then removed.

Run, it prints what is left today in the form of the lists below.
"""

import textwrap

# The share of statics that may be named by one word. The aim is 0.05.
ONE_WORD_SHARE = 0.20

DOUBLE_STATICS = {
    "add_header", "add_token", "ask", "check", "cleanup_json", "find", "find_path",
    "get", "on_body", "on_progress", "parse_option", "perform", "prepare", "push",
    "put_text", "run", "sample", "set_service", "start", "system_call", "take_text", "wait_until",
    "yama",
}

CIRCLES = []

WIDE_DOCUMENTS = {
    "docs/adr/0009-a-read-that-does-not-end.md", "docs/architecture.md",
}

UNREAD_SOURCES = {
    "agent/cli/account.h", "agent/cli/doctor.h", "agent/cli/doctor_agent.c",
    "agent/cli/doctor_here.c", "agent/cli/doctor_process.c", "agent/cli/dump.c",
    "agent/cli/main.c", "agent/cli/record.c", "agent/cli/subject.h", "agent/discover/cgroup.c",
    "agent/discover/cgroup.h", "agent/discover/discover.c", "agent/discover/discover.h",
    "agent/discover/docker.h", "agent/discover/inside.h", "agent/discover/judge.c",
    "agent/discover/judge.h", "agent/discover/kube.h", "agent/discover/note.c",
    "agent/discover/pods.h", "agent/discover/rules.h", "agent/discover/split.h",
    "agent/discover/table.h", "agent/discover/take.c", "agent/python/attach.c",
    "agent/python/attempt.c", "agent/python/bind.c", "agent/python/code.c", "agent/python/code.h",
    "agent/python/find.h", "agent/python/frame.h", "agent/python/linetable.h",
    "agent/python/python.h", "agent/python/read.c", "agent/python/reader.h", "agent/python/scan.c",
    "agent/python/source.h", "agent/python/tids.c", "agent/python/tids.h", "agent/python/unwind.c",
    "agent/sampler/sampler.h", "agent/target/core.h", "agent/target/pause.c",
    "agent/target/reasons.h", "agent/target/switches.h", "agent/target/thread_files.c",
    "agent/target/thread_files.h", "agent/target/threads.h", "agent/upload/losses.c",
    "agent/upload/push.c", "agent/upload/push.h", "agent/upload/spool.c", "agent/upload/upload.c",
    "shared/formats/view.h",
}


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
