// regex.h - regular expressions from people and from requests: those of PCRE2 (man pcre2pattern).
//
// PCRE2 backtracks, so an expression can take exponential time, and memory for each step back. Both
// are bounded here: an expression has at most 1024 bytes, 64 open parentheses and 64 KiB once it is
// compiled, and one search takes SPY_REGEX_STEPS steps and SPY_REGEX_HEAP_KIB at most. Most
// searches in names and command lines take less than a hundred steps. docs/adr/0002 tells why
// PCRE2.
//
// Bytes that are not UTF-8 match nothing. '.' matches a newline, too.
//
// Threads: one expression may be used by one thread at a time.
#pragma once
#include "shared/base/err.h"
#include <stddef.h>

enum { SPY_REGEX_STEPS = 20000, SPY_REGEX_HEAP_KIB = 1024 };

struct spy_regex;
// *ret must be freed with spy_regex_free. SPY_ERR_INVALID: err says what is wrong and where;
// SPY_ERR_LIMIT: it is past a bound; SPY_ERR_NOMEM.
int spy_regex_new(const char *pattern, struct spy_regex **ret, struct spy_err *err);
void spy_regex_free(struct spy_regex *re); // NULL-safe

// 1: the text has a match; 0: it has none. SPY_ERR_LIMIT: the search took too many steps or too
// much memory; SPY_ERR_NOMEM.
int spy_regex_search(struct spy_regex *re, const char *text, size_t len);
