#include "agent/sampler/rest.h"

enum { ENOUGH = SPY_REST_SHARE * SPY_REST_MOST };

void spy_rest_init(struct spy_rest *r)
{
    *r = (struct spy_rest){.rounds = 1, .place = 1};
}

void spy_rest_note(struct spy_rest *r, bool quiet)
{
    if (!quiet)
        r->quiet = 0;
    else if (r->quiet < ENOUGH)
        r->quiet += r->rounds;
}

uint32_t spy_rest_next(struct spy_rest *r, uint32_t rate, bool worth, struct spy_rand *rand)
{
    uint32_t left = r->rounds - r->place, rounds = worth ? r->quiet / SPY_REST_SHARE : 1;
    uint32_t most = (uint32_t)((uint64_t)rate * SPY_REST_NS / SPY_NS_PER_SEC);
    most = most < SPY_REST_MOST ? most : SPY_REST_MOST;
    rounds = rounds < most ? rounds : most;
    r->rounds = rounds ? rounds : 1;
    r->place = 1 + (uint32_t)(spy_rand_unit(rand) * r->rounds);
    return left + r->place;
}
