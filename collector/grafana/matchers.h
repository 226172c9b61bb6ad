// matchers.h - label selectors of PromQL: {service_name="checkout", "k8s.pod.name"=~"web-.*"}.
//
// A selector is a list of matchers in braces, and all must hold. Operators are =, !=, =~ and !~; an
// expression must match the whole value. A series without the label has the value "". Names are
// identifiers or quoted; values are quoted with ", ' or `, with Go's escapes in the first two.
//
// A matcher's name means the label with that key, or else the label whose key becomes that name
// when each character that is not a letter or digit becomes '_': service_name is service.name.
//
// Expressions are PCRE2's, which read what RE2's do; shared/base/regex.h bounds one search, and all
// searches of a selector together take at most SPY_MATCHERS_CPU_SECS.
//
// Threads: one selector belongs to one thread at a time.
#pragma once
#include "collector/store/store.h"
#include "shared/base/arena.h"
#include "shared/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SPY_MATCHERS_MAX = 32, SPY_MATCHERS_BYTES = 16384, SPY_MATCHERS_CPU_SECS = 2 };

enum spy_match { SPY_MATCH_EQUAL, SPY_MATCH_NOT_EQUAL, SPY_MATCH_REGEX, SPY_MATCH_NOT_REGEX };

struct spy_matcher {
    const char *name, *value;
    enum spy_match how;
    struct spy_regex *re; // of the last two
};

struct spy_matchers {
    struct spy_matcher rows[SPY_MATCHERS_MAX];
    size_t n;
    struct spy_arena arena; // holds the texts
    uint64_t until_ns;      // of the thread's CPU time, from the first search on
};

// A label of a series.
struct spy_named {
    const char *key, *value;
};

// Parses a selector; "" and "{}" have no matchers. SPY_ERR_INVALID: err says what is wrong and where;
// SPY_ERR_LIMIT: it exceeds a bound; SPY_ERR_NOMEM. *ret must be freed with spy_matchers_free.
int spy_matchers_parse(const char *text, struct spy_matchers *ret, struct spy_err *err);
void spy_matchers_free(struct spy_matchers *m); // a zeroed selector may be freed too

// Whether a series with these labels matches: 1 or 0. SPY_ERR_INVALID: an expression costs too much.
int spy_matchers_match(struct spy_matchers *m, const struct spy_named *labels, size_t n,
                       struct spy_err *err);

// Adds terms to a selection that leave out only series which do not match. The terms borrow from m.
void spy_matchers_narrow(struct spy_matchers *m, struct spy_select *select);

// Whether `name` means the label with this key, as itself or with '_'.
bool spy_label_is_named(const char *key, const char *name);
// The value of the label that `name` means, "" when there is none.
const char *spy_label_value(const struct spy_named *labels, size_t n, const char *name);
// Replaces each character that is not a letter or digit by '_'. A digit at the beginning gets a '_'
// before it. out: 2 bytes longer than key.
void spy_label_name(const char *key, char *out);
