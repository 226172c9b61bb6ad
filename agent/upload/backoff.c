#include "agent/upload/backoff.h"

uint64_t spy_backoff_failed(struct spy_backoff *b, uint64_t retry_after_ns)
{
    uint64_t cap = SPY_BACKOFF_BASE_NS;
    for (unsigned i = 0; i < b->failures && cap < SPY_BACKOFF_CAP_NS; i++)
        cap *= 2;
    cap = cap < SPY_BACKOFF_CAP_NS ? cap : SPY_BACKOFF_CAP_NS;
    if (b->failures < UINT32_MAX)
        b->failures++;
    if (retry_after_ns > SPY_BACKOFF_RETRY_AFTER_NS)
        retry_after_ns = SPY_BACKOFF_RETRY_AFTER_NS;
    uint64_t jitter = (uint64_t)(spy_rand_unit(&b->rand) * (double)cap);
    uint64_t wait = retry_after_ns + jitter;
    return wait > SPY_BACKOFF_FLOOR_NS ? wait : SPY_BACKOFF_FLOOR_NS;
}
