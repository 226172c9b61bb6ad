// regex.h - POSIX extended regular expressions from people and from requests.
//
// glibc compiles "((x{999}){999}){999}", and "x++++++++++++++++++++++++++++++++" too, until memory
// ends, descends by recursion into parentheses and matches back-references in exponential time.
// What is compiled here is bounded: at most 1024 bytes, 64 open parentheses, no back-references,
// at most 3 repetitions inside of each other, and at most 1024 characters and operators once they
// are multiplied out.
// Any thread; a compiled expression may be shared by threads that only match.
#pragma once
#include "shared/base/err.h"
#include <regex.h>

// On success *ret must be freed with regfree. flags are added to REG_EXTENDED. SPY_ERR_INVALID with
// what is wrong ("Unmatched ( or \\("), SPY_ERR_LIMIT when it is past a bound.
int spy_regex_compile(const char *pattern, int flags, regex_t *ret, struct spy_err *err);
