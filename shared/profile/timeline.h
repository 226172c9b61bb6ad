// timeline.h - the order of the samples of one profile.
//
// A profile counts: it knows how often a thread was in a stack, not when. A timeline beside it
// keeps, for each thread of each series, the runs of equal samples one after another, so that a
// format can show what came first. It refers to the profile by ids and so holds only as long as the
// profile's tables do.
//
// It is bounded by the bytes it is made with, 16 of them a run; what it keeps of each thread takes
// at most half as many again. When it is full it says so for ever: what is in it is then the
// beginning only, and not to be shown as if it were all. Adding allocates by doubling, and nothing
// while runs grow longer.
//
// Threads: as the profile it belongs to.
#pragma once
#include "shared/profile/profile.h"

struct spy_timeline;

struct spy_run {
    uint32_t series, thread, stack, state; // as in spy_sample
    uint64_t count;                        // samples
    uint64_t at_ns;                        // of the first, after that of the timeline; whole ms
};

// NULL: no memory.
struct spy_timeline *spy_timeline_new(size_t bytes_max);
void spy_timeline_free(struct spy_timeline *t);

// The thread was seen in this stack and state, count times in a row since the last call for it.
// now_ns: by any clock that nobody sets. Where there is no room the timeline is full.
void spy_timeline_add(struct spy_timeline *t, uint32_t series, uint32_t stack, uint32_t thread,
                      uint32_t state, uint64_t count, uint64_t now_ns);
bool spy_timeline_is_full(const struct spy_timeline *t);

// The runs in the order in which they began; those of one thread of one series tell its whole
// story.
uint32_t spy_timeline_n(const struct spy_timeline *t);
struct spy_run spy_timeline_at(const struct spy_timeline *t, uint32_t i);
