#include "agent/sampler/blame.h"

const struct spy_seen_thread *spy_blame_holder(const struct spy_blame_holders *h,
                                               const struct spy_seen_thread *waiter)
{
    for (size_t i = 0; i < h->n; i++)
        if (h->list[i]->gil == waiter->gil)
            return h->list[i];
    return NULL;
}

void spy_blame_find_holders(const struct spy_seen_thread *round, size_t n,
                            struct spy_blame_holders *ret)
{
    ret->n = 0;
    for (size_t i = 0; i < n && ret->n < SPY_BLAME_GILS_MAX; i++)
        if (round[i].state & SPY_STATE_GIL_HOLDS && round[i].gil &&
            !spy_blame_holder(ret, &round[i]))
            ret->list[ret->n++] = &round[i];
}
