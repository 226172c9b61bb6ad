// backoff.h - how long to wait before the next try. Inside of agent/upload. Not thread safe.
//
// After the n-th failure in a row the wait is uniform between 0 and min(60 s, 1 s * 2^(n-1)): "full
// jitter", which spreads the agents of a fleet that lost its collector all at once. What a
// Retry-After asks for comes on top, so that a fleet does not come back in the same instant either.
#pragma once
#include "shared/base/clock.h"

#define SPY_BACKOFF_BASE_NS        SPY_NS_PER_SEC
#define SPY_BACKOFF_CAP_NS         (60 * SPY_NS_PER_SEC)
#define SPY_BACKOFF_FLOOR_NS       (20 * SPY_NS_PER_MS)   // never a busy loop
#define SPY_BACKOFF_RETRY_AFTER_NS (600 * SPY_NS_PER_SEC) // of a Retry-After no more is honoured

struct spy_backoff {
    struct spy_rand rand;
    unsigned failures; // in a row
};

// The wait after one more failure. retry_after_ns: 0 when the answer had none.
uint64_t spy_backoff_failed(struct spy_backoff *b, uint64_t retry_after_ns);
static inline void spy_backoff_reset(struct spy_backoff *b)
{
    b->failures = 0;
}
