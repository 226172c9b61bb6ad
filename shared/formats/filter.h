// filter.h - chooses samples by what is on their stack and by their thread.
//
// A filter is made for one profile: what each stack and thread comes to is found once, so asking
// for a sample is two bit tests. A stack passes when, of the include expressions (if there are
// any), one matches one of its frames, and no exclude expression matches any. An expression is
// PCRE2's and looks at "name filename" of a function, the file name in full. A thread passes
// when one of the patterns equals its number or, '*' standing for any text, its name.
//
// Expressions may come from the network: shared/base/regex.h bounds what one search costs, and all
// searches for a filter take SPY_FILTER_CPU_SECS of CPU time at most.
//
// Threads: a filter does not change once made; the profile must not change meanwhile.
#pragma once
#include "shared/base/err.h"
#include "shared/profile/profile.h"

enum { SPY_FILTER_MAX = 16, SPY_FILTER_CPU_SECS = 2 };

struct spy_filter_options {
    const char *include[SPY_FILTER_MAX], *exclude[SPY_FILTER_MAX], *threads[SPY_FILTER_MAX];
    size_t n_include, n_exclude, n_threads;
    const bool *stop; // stop.h; NULL: none
};

struct spy_filter;
// SPY_ERR_INVALID: an expression that is none, or too expensive; SPY_ERR_LIMIT: one that is too
// long; SPY_ERR_GONE: stop was set; err says why.
int spy_filter_new(const struct spy_filter_options *options, const struct spy_profile *p,
                   struct spy_filter **ret, struct spy_err *err);
void spy_filter_free(struct spy_filter *f);
bool spy_filter_has(const struct spy_filter *f, const struct spy_sample *s);
