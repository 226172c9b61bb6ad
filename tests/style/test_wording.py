"""Documents, comments, log lines and errors in plain English, and documents that fit 100 columns, as CONTRIBUTING.md
asks."""

import tree
import wording


def test_documents_fit_100_columns():
    wrong = [f"{name}:{line}: {columns} columns" for name in wording.documents()
             if name.endswith(".md")
             for line, columns in wording.wide_lines(tree.text(name))]
    assert not wrong, "\n".join(wrong)


def test_documents_are_in_plain_english():
    wrong = [f"{name}:{line}: {phrase!r}: {better}" for name in wording.documents()
             for line, phrase, better in wording.in_document(tree.text(name))]
    assert not wrong, "\n".join(wrong)


def test_comments_log_lines_and_errors_are_in_plain_english():
    wrong = [f"{name}:{line}: {phrase!r}: {better}" for name in wording.sources()
             for line, phrase, better in wording.in_c(tree.text(name))]
    assert not wrong, "\n".join(wrong)


# Planted faults: each check finds what it is for, and only that.

def test_a_wide_line_is_found():
    assert wording.wide_lines("x" * 100 + "\n" + "y" * 101 + "\n") == [(2, 101)]


def test_a_line_may_be_as_long_as_its_address():
    assert wording.wide_lines("see https://host.example/" + "x" * 100) == []


def test_a_phrase_is_found_where_a_line_is_broken():
    assert [(line, phrase) for line, phrase, _ in wording.in_document("a\nis no\npod")] == [(2, "is no ")]
    [(line, _, _)] = wording.in_c("int x;\n/* it is the one\n * that ran */\n")
    assert line == 2


def test_a_phrase_is_found_in_a_nested_list():
    assert [line for line, _, _ in wording.in_document("- a\n  - b is\n    told\n")] == [3]


def test_each_phrase_is_found_in_a_log_line():
    for text in ("this is no pod", "one that ran", "of which none", "goes on", "begun anew", "is told",
                 "lets itself be asked"):
        assert len(wording.in_c(f'log("{text}");')) == 1, text


def test_a_comment_that_begins_with_of_is_found():
    assert [phrase for _, phrase, _ in wording.in_c("/* Of a thread: its name */")] == ["/* Of "]


def test_plain_english_and_code_pass():
    for text in ("there is no pod", "it is no longer there", "is not a pod", "a cost of whichever"):
        assert wording.in_document(text) == [], text
    assert wording.in_document("\n\n    $ told anew\n\n    $ goes on\n\nsee `one that`\n") == []
    assert wording.in_c("bool told = one_that(of_which);") == []
