// timeline.h - the order of the samples of one profile.
//
// A profile counts how often a thread was in a stack, but not when. A timeline keeps the runs of equal
// samples of each thread of each series in order, so that a format can show what came first. It refers
// to the profile by ids, so it is valid as long as the profile's tables are.
//
// Its size is bounded by bytes_max, with 16 bytes a run; the threads take at most half as many
// bytes in addition. Once it is full it stays full: it then holds the beginning only, which must
// not be shown as the whole. Adding allocates by doubling, and nothing while runs grow longer.
//
// Threads: as the profile it belongs to.
#pragma once
#include "shared/profile/profile.h"

struct spy_timeline;

struct spy_run {
    uint32_t series, thread, stack, state; // as in spy_sample
    uint64_t count;                        // samples
    uint64_t at_ns; // of the first sample, since the timeline's first; whole ms
};

// NULL: out of memory.
struct spy_timeline *spy_timeline_new(size_t bytes_max);
void spy_timeline_free(struct spy_timeline *t);

// Notes that the thread was in this stack and state, count times in a row since the last call for it.
// now_ns: of any monotonic clock. Without room the timeline becomes full.
void spy_timeline_add(struct spy_timeline *t, uint32_t series, uint32_t stack, uint32_t thread,
                      uint32_t state, uint64_t count, uint64_t now_ns);
// Forgets all runs, and keeps the memory: it is as new.
void spy_timeline_reset(struct spy_timeline *t);
bool spy_timeline_is_full(const struct spy_timeline *t);

// The runs in the order in which they began. The runs of one thread of one series cover all its
// samples.
uint32_t spy_timeline_n(const struct spy_timeline *t);
struct spy_run spy_timeline_at(const struct spy_timeline *t, uint32_t i);
