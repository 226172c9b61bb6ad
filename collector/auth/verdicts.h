// verdicts.h - a cache of answers about tokens, of a fixed size. Inside of collector/auth.
//
// The hash of a token selects the SPY_VERDICT_WAYS places it may use: a free place, a place whose
// answer has expired, or, for a yes only, a place that holds a no. Otherwise nothing is cached. Any
// thread.
#pragma once
#include "collector/auth/options.h"
#include <stdint.h>

enum { SPY_VERDICT_WAYS = 8, SPY_VERDICT_HASH = 32 };

struct spy_verdict {
    uint8_t hash[SPY_VERDICT_HASH];
    uint64_t until_ns; // of the monotonic clock; 0: free
    enum spy_auth_answer answer;
    const char *why; // static
};

struct spy_verdicts;
// n is a power of two, at least SPY_VERDICT_WAYS. NULL: out of memory.
struct spy_verdicts *spy_verdicts_new(size_t n);
void spy_verdicts_free(struct spy_verdicts *v);
// Finds the verdict for ret->hash that is valid at now_ns, and fills *ret with it.
bool spy_verdicts_find(struct spy_verdicts *v, uint64_t now_ns, struct spy_verdict *ret);
void spy_verdicts_keep(struct spy_verdicts *v, uint64_t now_ns, const struct spy_verdict *verdict);
