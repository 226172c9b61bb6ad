#include "shared/base/backoff.h"

uint64_t spy_backoff_failed(struct spy_backoff *b, uint64_t retry_after_ns)
{
    uint64_t most = b->base_ns;
    for (unsigned i = 0; i < b->failures && most < b->cap_ns; i++)
        most *= 2;
    most = most < b->cap_ns ? most : b->cap_ns;
    if (b->failures < UINT32_MAX)
        b->failures++;
    if (retry_after_ns > SPY_BACKOFF_RETRY_AFTER_NS)
        retry_after_ns = SPY_BACKOFF_RETRY_AFTER_NS;
    uint64_t fixed = b->half_fixed ? most / 2 : 0;
    uint64_t jitter = (uint64_t)(spy_rand_unit(&b->rand) * (double)(most - fixed));
    uint64_t wait = retry_after_ns + fixed + jitter;
    return wait > SPY_BACKOFF_FLOOR_NS ? wait : SPY_BACKOFF_FLOOR_NS;
}
