// schedule.h - which process is sampled next, and when. Inside of agent/sampler.
//
// All processes of one rate are sampled at the same moments, the beats of that rate: a wakeup costs
// more than a round does, and 200 processes need no more of them than one. The gap between two
// beats is drawn anew each time, uniformly between half and one and a half of the period about an
// accumulating deadline, so that no periodic program is always met at the same point. Beats that
// come too late are skipped, never bunched. A process need not take part in each: beats are drawn
// ahead.
//
// Times are nanoseconds of CLOCK_MONOTONIC. Nothing here is thread safe.
#pragma once
#include "shared/base/clock.h"
#include <stddef.h>

struct spy_beats; // of one rate; schedule.c

// What is due when. `who` is the owner's. All of it is kept by the schedule.
struct spy_due {
    uint64_t at;   // UINT64_MAX: never again
    uint64_t beat; // the number of that beat; 0: it is not on the beat of its rate yet
    uint32_t beats;
    void *who;
};

struct spy_schedule {
    struct spy_due *heap; // the one due first is heap[0]; parent of i at (i - 1) / 2
    size_t n, cap;
    struct spy_beats *beats; // a rate each
    size_t n_beats, cap_beats;
    struct spy_rand rand;
    double stretch; // of all periods, at least 1
};

void spy_schedule_init(struct spy_schedule *s);
void spy_schedule_free(struct spy_schedule *s);

// Adds who at this time. rate: beats a second, 0: always due again at once. SPY_ERR_LIMIT past max
// entries, SPY_ERR_NOMEM.
int spy_schedule_add(struct spy_schedule *s, void *who, uint32_t rate, uint64_t at, size_t max);
void spy_schedule_remove(struct spy_schedule *s, size_t i);

enum { SPY_SCHEDULE_AHEAD = 15 };
// Of the one that was due first, once it had its turn. On the beat that comes so many after its
// last, 1 to SPY_SCHEDULE_AHEAD, or the first one after that which is still to come: returns how
// many were skipped for that. At a time of its own, off the beat, UINT64_MAX for never.
uint64_t spy_schedule_on_beat(struct spy_schedule *s, uint64_t now, uint32_t ahead);
void spy_schedule_off_beat(struct spy_schedule *s, uint64_t at);
