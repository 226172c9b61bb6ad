// text.h - text that others chose, made fit to be shown.
//
// The names of files, functions, threads and programs are the target's choice. Printed as they are,
// they could move a terminal's cursor, forge lines, and turn the direction of the text around them.
// Unfit are: control characters (C0, DEL, C1), the line and paragraph separators, all that turns
// the direction of text, and characters that nobody sees (zero width space, word joiner, byte order
// mark, tags). The two joiners U+200C and U+200D are fit: some scripts and emoji need them.
//
// Any thread.
#pragma once
#include "shared/base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The code point of the character of n bytes at s; n as spy_utf8_len tells it, not 0.
uint32_t spy_text_code(const char *s, size_t n);
bool spy_text_is_fit(uint32_t code);

// Appends s for a terminal: every unfit character as Python writes it in a string (\n, \x1b,
// \u202e), every byte that is not UTF-8 as \xff. Showing what was shown already changes nothing.
int spy_buf_shown(struct spy_buf *b, const char *s);
// The same into out (size bytes with the NUL), cut between characters; returns out.
const char *spy_text_show(char *out, size_t size, const char *s);

// Does all of text match the pattern, '*' standing for any text, also none? The time is bounded by
// the product of the lengths.
bool spy_glob_matches(const char *pattern, const char *text);

// 0 to 15, or -1 for what is not a hexadecimal digit.
int spy_hex_digit(char c);
