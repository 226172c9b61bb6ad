#include "agent/sampler/idle.h"

enum { ENOUGH = SPY_IDLE_SHARE * SPY_IDLE_MOST };

void spy_idle_init(struct spy_idle *d)
{
    *d = (struct spy_idle){.rounds = 1, .place = 1};
}

void spy_idle_note(struct spy_idle *d, bool quiet)
{
    if (!quiet)
        d->quiet = 0;
    else if (d->quiet < ENOUGH)
        d->quiet += d->rounds;
}

uint32_t spy_idle_next(struct spy_idle *d, uint32_t rate, bool worth, struct spy_rand *rand)
{
    uint32_t left = d->rounds - d->place, rounds = worth ? d->quiet / SPY_IDLE_SHARE : 1;
    uint32_t most = (uint32_t)((uint64_t)rate * SPY_IDLE_NS / SPY_NS_PER_SEC);
    most = most < SPY_IDLE_MOST ? most : SPY_IDLE_MOST;
    rounds = rounds < most ? rounds : most;
    d->rounds = rounds ? rounds : 1;
    d->place = 1 + (uint32_t)(spy_rand_unit(rand) * d->rounds);
    return left + d->place;
}
