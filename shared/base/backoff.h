// backoff.h - how long to wait before the next try. Not thread safe.
//
// The n-th failure in a row allows a wait of up to min(cap, base * 2^(n-1)). The wait is drawn
// uniformly from the whole of it ("full jitter", which spreads the agents of a fleet that lost its
// collector all at once) or, with half_fixed, from its upper half.
#pragma once
#include "shared/base/clock.h"
#include <stdbool.h>

#define SPY_BACKOFF_FLOOR_NS       (20 * SPY_NS_PER_MS)   // the shortest wait: never a busy loop
#define SPY_BACKOFF_RETRY_AFTER_NS (600 * SPY_NS_PER_SEC) // the longest Retry-After honoured

struct spy_backoff {
    uint64_t base_ns, cap_ns;
    bool half_fixed;
    struct spy_rand rand;
    unsigned failures; // in a row
};

// Returns the wait after one more failure. retry_after_ns is what the answer asked for (0: nothing)
// and is added to the wait, so that a fleet does not come back in one instant either.
uint64_t spy_backoff_failed(struct spy_backoff *b, uint64_t retry_after_ns);
static inline void spy_backoff_reset(struct spy_backoff *b)
{
    b->failures = 0;
}
