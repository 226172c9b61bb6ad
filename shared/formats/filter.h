// filter.h - chooses samples by what is on their stack and by their thread.
//
// A filter belongs to one profile. It decides for each stack and thread when it is made, so
// checking a sample is two lookups. A stack passes if an include expression (where there are any)
// matches one of its frames and no exclude expression does. Expressions are PCRE2's and are matched
// with "name filename" of a function, the file name in full. A thread passes if a pattern equals its
// number or matches its name, where '*' stands for any text.
//
// Expressions may come from the network: shared/base/regex.h bounds the cost of one search, and all
// searches of a filter together take at most SPY_FILTER_CPU_SECS of CPU time.
//
// Threads: a filter does not change once made; the profile must not change while it is in use.
#pragma once
#include "shared/base/err.h"
#include "shared/profile/profile.h"

enum { SPY_FILTER_MAX = 16, SPY_FILTER_CPU_SECS = 2 };

struct spy_filter_options {
    const char *include[SPY_FILTER_MAX], *exclude[SPY_FILTER_MAX], *threads[SPY_FILTER_MAX];
    size_t n_include, n_exclude, n_threads;
    const bool *stop; // shared/base/stop.h; NULL: none
};

struct spy_filter;
// SPY_ERR_INVALID: an expression is malformed or too expensive; SPY_ERR_LIMIT: it is too long;
// SPY_ERR_GONE: stop was set; SPY_ERR_NOMEM. err has the reason.
int spy_filter_new(const struct spy_filter_options *options, const struct spy_profile *p,
                   struct spy_filter **ret, struct spy_err *err);
void spy_filter_free(struct spy_filter *f);
bool spy_filter_has(const struct spy_filter *f, const struct spy_sample *s);
