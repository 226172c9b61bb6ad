// regex.h - PCRE2 regular expressions (man pcre2pattern) from people and requests.
//
// PCRE2 backtracks, so an expression can take exponential time, and memory for each step back. Both
// are bounded: an expression has at most 1024 bytes, 64 open parentheses and 64 KiB when compiled, and
// a search takes SPY_REGEX_STEPS steps and SPY_REGEX_HEAP_KIB at most. Most searches in names and
// command lines take less than a hundred steps. docs/adr/0002 says why PCRE2.
//
// Bytes that are not UTF-8 match nothing. '.' matches a newline too.
//
// Threads: one expression may be used by one thread at a time.
#pragma once
#include "shared/base/err.h"
#include <stddef.h>

enum { SPY_REGEX_STEPS = 20000, SPY_REGEX_HEAP_KIB = 1024 };

struct spy_regex;
// *ret must be freed with spy_regex_free. SPY_ERR_INVALID: err says what is wrong and where;
// SPY_ERR_LIMIT: it exceeds a bound; SPY_ERR_NOMEM.
int spy_regex_new(const char *pattern, struct spy_regex **ret, struct spy_err *err);
void spy_regex_free(struct spy_regex *re); // NULL-safe

// Returns 1 if the text has a match, else 0. SPY_ERR_LIMIT: the search took too many steps or too
// much memory; SPY_ERR_NOMEM.
int spy_regex_search(struct spy_regex *re, const char *text, size_t len);
