// utf8.h - single characters of UTF-8 text. Pure functions.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Length of the valid UTF-8 sequence at s (1 to 4), or 0 where the bytes are not valid. left > 0.
size_t spy_utf8_len(const char *s, size_t left);
// The code point of the character of n bytes at s; n is what spy_utf8_len returned, not 0.
uint32_t spy_utf8_code(const char *s, size_t n);
// Whether a terminal may show the character as it is (text.h).
bool spy_utf8_is_fit(uint32_t code);
