#include "collector/store/retention_clock.h"

uint64_t spy_retention_now(struct spy_retention_clock *c, uint64_t real_ns, uint64_t mono_ns,
                           uint64_t seen_ns)
{
    uint64_t passed = c->trusted_ns && mono_ns > c->mono_ns ? mono_ns - c->mono_ns : 0;
    uint64_t base = c->trusted_ns ? c->trusted_ns + passed : seen_ns ? seen_ns : real_ns;
    if (seen_ns > base)
        base = seen_ns;
    if (base > real_ns)
        base = real_ns;
    c->trusted_ns = base;
    c->mono_ns = mono_ns;
    return real_ns - base > SPY_RETENTION_SLACK_NS ? base + SPY_RETENTION_SLACK_NS : real_ns;
}
