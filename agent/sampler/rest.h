// rest.h - how often a process that rests is looked at. Inside of agent/sampler.
//
// To know that none of its threads has run costs a small read for each, and of hundreds of
// processes most rest nearly always. One that has rested for long is looked at in one round of
// several, drawn at random among them, and what is met then stands for all of them. How many those
// are depends on what was seen before they begin, never on what happens in them, so that the shares
// come out right on average whatever the process does and when (stratified sampling, one draw a
// stratum). What it does once in a while is met more rarely and counts for more each time, but
// never for more than a SPY_REST_SHARE-th of the rest before it. After the look that meets it at
// work, from the end of that stratum on, it is looked at in every round again.
#pragma once
#include "shared/base/clock.h"
#include <stdbool.h>

enum {
    SPY_REST_SHARE = 64,
    SPY_REST_MOST = 8,      // rounds that one look stands for
    SPY_REST_NS = 80000000, // and the time, on average
};

struct spy_rest {
    uint32_t rounds; // of the running stratum: what its look stands for
    uint32_t place;  // of the look in it, from 1
    uint32_t quiet;  // rounds in a row for which nothing was seen to have run
};

void spy_rest_init(struct spy_rest *r);
// After a look: was all quiet?
void spy_rest_note(struct spy_rest *r, bool quiet);
// Goes on to the next stratum: the next look is so many rounds after this one, 1 to
// 2 * SPY_REST_MOST - 1. rate: rounds a second, as they are taken now. worth: false is to be looked
// at every time.
uint32_t spy_rest_next(struct spy_rest *r, uint32_t rate, bool worth, struct spy_rand *rand);
