"""Phrases that read as translated, and where they stand: in documents, comments, log lines and errors."""

import re

import tree

# A phrase and what to write instead.
PHRASES = [
    (r"(?<!there )(?<!There )\b(?:is|are|was|were) no (?!longer\b|more\b|less\b)(?=\w)", "is not a ..."),
    (r"\bone that\b", "name the noun: a thread that ..."),
    (r"\bof which\b", "whose, or two sentences"),
    (r"\bgoes on\b", "continues, keeps running, lasts"),
    (r"\banew\b", "again"),
    (r"\btold\b", "reported, named, said"),
    (r"\blets? (?:itself|themselves) be\b", "can be"),
]
# A comment begins with its subject.
BEGINNING = (r"(?:/\*+|//) *Of (?!course\b)", "begin with the subject")

# Indented blocks and what stands in backticks. Indented lines of a list follow no empty line.
_CODE = re.compile(r"(?:(?<=\n\n)|\A)(?:    .*\n(?:\n(?=    ))*)+|`[^`\n]*\n?[^`\n]*`")
_DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "docs/")


def documents():
    return [n for n in tree.files() if n.startswith(_DOCUMENTS) and re.search(r"\.(md|[1-8])$", n)]


def sources():
    return [n for n in tree.files(".c", ".h") if n.startswith(("agent/", "collector/", "shared/"))]


def _found_in(text, line, phrases):
    # A phrase may be broken between two lines, in C behind the next line's comment mark.
    flat = re.sub(r"\n[ \t]*(?:\*(?!/)|//)?", lambda m: "\n" + " " * (len(m[0]) - 1), text)
    flat = re.sub(r"\n *", lambda m: " " * len(m[0]), flat)
    squeezed = [(m.start(), m[0]) for m in re.finditer(r"\S+", flat)]
    words, starts = " ".join(w for _, w in squeezed), []
    for at, word in squeezed:
        starts += [at] * (len(word) + 1)
    return [(line + text.count("\n", 0, starts[m.start()]), m[0], better)
            for phrase, better in phrases for m in re.finditer(phrase, words)]


def in_document(text):
    """[(line, phrase, what is better)]; what stands in code is left out."""
    text = _CODE.sub(lambda m: "\n" * m[0].count("\n"), text)
    return _found_in(text, 1, PHRASES)


def in_c(text):
    """The same of the comments and strings of a C source."""
    return [hit for line, part in tree.comments_and_strings(text)
            for hit in _found_in(part, line, [*PHRASES, BEGINNING])]


def wide_lines(text, most=100):
    """[(line number, columns)] of a document; a line with an address may be as long as that needs."""
    return [(n, len(line)) for n, line in enumerate(text.split("\n"), 1)
            if len(line) > most and not re.search(r"https?://\S{40}", line)]
