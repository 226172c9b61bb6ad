// idle.h - how often an idle process is checked. Inside of agent/sampler.
//
// It takes a small read per thread to know that no thread of a process has run, and of hundreds of
// processes most are idle nearly always. A process that has been idle for long is checked in one
// round of several, at a random place among them, and what that check meets stands for all of them.
// How many rounds these are is decided before they begin, never by what happens in them, so that
// shares are right on average whatever the process does and when (stratified sampling with one draw
// per stratum). Brief work is met more rarely and counts for more each time, but never for more
// than a SPY_IDLE_SHARE-th of the idle time before it. Once a check has met work, the process is
// checked in every round again from the end of that stratum on.
#pragma once
#include "shared/base/clock.h"
#include <stdbool.h>

enum {
    SPY_IDLE_SHARE = 64,
    SPY_IDLE_MOST = 8,      // most rounds that one check stands for
    SPY_IDLE_NS = 80000000, // and the most time, on average
};

struct spy_idle {
    uint32_t rounds; // of the current stratum: how many its check stands for
    uint32_t place;  // of the check in it, from 1
    uint32_t quiet;  // rounds in a row in which nothing was seen to have run
};

void spy_idle_init(struct spy_idle *d);
// After a check: had nothing run?
void spy_idle_note(struct spy_idle *d, bool quiet);
// Begins the next stratum. Returns how many rounds after this one the next check is, from 1 to
// 2 * SPY_IDLE_MOST - 1. rate: the current rounds a second. worth: false checks every round.
uint32_t spy_idle_next(struct spy_idle *d, uint32_t rate, bool worth, struct spy_rand *rand);
