#include "collector/http/capacity.h"
#include "collector/http/http.h"
#include "collector/http/linger.h"
#include "shared/base/clock.h"
#include "shared/base/descriptors.h"
#include "shared/base/log.h"

enum {
    RESERVE = SPY_LINGER_MAX + 2 * SPY_DESCRIPTORS_RESERVE,
    LEAST = 4, // each thread of the listener has some
};

void spy_capacity_init(struct spy_capacity *c, unsigned n_listeners)
{
    unsigned limit = (unsigned)spy_descriptors_limit();
    unsigned spare = limit > 2 * RESERVE ? limit - RESERVE : limit / 2;
    unsigned max = spare / n_listeners;
    *c = (struct spy_capacity){.max = max > SPY_HTTP_CONNECTIONS ? SPY_HTTP_CONNECTIONS
                                      : max < LEAST              ? LEAST
                                                                 : max};
    if (c->max < SPY_HTTP_CONNECTIONS)
        spy_log(SPY_LOG_WARN,
                "few file descriptors: raise the limit of open files (ulimit -n, LimitNOFILE)",
                SPY_I("limit", limit), SPY_I("connections", c->max));
}

void spy_capacity_count(struct spy_capacity *c, int change)
{
    static uint64_t last;
    unsigned n = __atomic_add_fetch(&c->n, (unsigned)change, __ATOMIC_RELAXED);
    if (change > 0 && n >= c->max && spy_log_due(&last, 60 * SPY_NS_PER_SEC))
        spy_log(SPY_LOG_WARN, "all connections of a listener are taken: new clients wait",
                SPY_I("connections", n));
}
