// text.h - makes text from outside fit to be shown.
//
// Targets choose the names of files, functions, threads and programs. Printed as they are, these could
// move a terminal's cursor, forge lines, and reverse the direction of the text around them. Unfit are:
// control characters (C0, DEL, C1), the line and paragraph separators, characters that change the
// direction of text, and invisible characters (zero width space, word joiner, byte order mark, tags).
// The two joiners U+200C and U+200D are fit: some scripts and emoji need them
// (spy_utf8_is_fit).
//
// Any thread.
#pragma once
#include "shared/base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Appends s for a terminal: every unfit character escaped as in a Python string (\n, \x1b, \u202e),
// every byte that is not UTF-8 as \xff. Escaping text again changes nothing.
int spy_buf_shown(struct spy_buf *b, const char *s);
// The same into out (size bytes with the NUL), cut between characters; returns out.
const char *spy_text_show(char *out, size_t size, const char *s);

// Whether all of text matches the pattern, in which '*' stands for any text, also none, and all else
// for itself. The time is bounded by the product of the lengths. For selections of labels and threads;
// opt-in rules of the agent use fnmatch(3) instead, where '?' and '[' have a meaning as well.
bool spy_glob_matches(const char *pattern, const char *text);

// 0 to 15, or -1 for what is not a hexadecimal digit.
int spy_hex_digit(char c);
