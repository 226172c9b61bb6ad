// schedule.h - which process is sampled next, and when. Inside of agent/sampler.
//
// All processes of one rate are sampled at the same moments, the ticks of that rate: a wakeup costs
// more than a round, and 200 processes need no more wakeups than one. The gap to each tick is drawn
// uniformly between half and one and a half periods, so that no periodic program is always met at
// the same point. Ticks that come too late are skipped, never caught up. A process need not take
// part in every tick: ticks are drawn ahead.
//
// Times are nanoseconds of CLOCK_MONOTONIC. Not thread safe.
#pragma once
#include "shared/base/clock.h"
#include <stddef.h>

struct spy_ticks; // of one rate; schedule.c

// When an entry is due. `who` is the caller's; the schedule writes the rest.
struct spy_due {
    uint64_t at;   // UINT64_MAX: never again
    uint64_t tick; // the number of that tick; 0: not on a tick of its rate yet
    uint32_t ticks;
    void *who;
};

struct spy_schedule {
    struct spy_due *heap; // heap[0] is due first; the parent of i is (i - 1) / 2
    size_t n, cap;
    struct spy_ticks *ticks; // one for each rate
    size_t n_ticks, cap_ticks;
    struct spy_rand rand;
    double stretch; // of all periods, at least 1
};

void spy_schedule_init(struct spy_schedule *s);
void spy_schedule_free(struct spy_schedule *s);

// Adds an entry that is due at this time. rate: ticks a second; 0: due again at once. SPY_ERR_LIMIT
// past max entries, SPY_ERR_NOMEM.
int spy_schedule_add(struct spy_schedule *s, void *who, uint32_t rate, uint64_t at, size_t max);
void spy_schedule_remove(struct spy_schedule *s, size_t i);

// Reschedule the entry that was due first, after its round. _on_tick: `ahead` ticks after its last,
// 1 to SPY_SCHEDULE_AHEAD, or at the next tick still to come; returns how many ticks that skipped.
// _off_tick: at time `at`; UINT64_MAX: never.
enum { SPY_SCHEDULE_AHEAD = 15 };
uint64_t spy_schedule_on_tick(struct spy_schedule *s, uint64_t now, uint32_t ahead);
void spy_schedule_off_tick(struct spy_schedule *s, uint64_t at);
