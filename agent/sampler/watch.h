// watch.h - which process the sampler's thread reads just now, for a thread that looks whether it
// gets on.
//
// A read of memory that comes from a file system that hangs, or from userfaultfd(2), does not end,
// and the kernel lets nothing but the end of the reader interrupt it. Whoever finds that a read
// lasts too long claims it: the sampler's thread then never comes back from it, so that the
// sampler belongs to the claimer, as it was before the read. All that is left to do with the thread
// is to end this program, or to put another in its place (exec).
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

// Zeroed at first. Written by the sampler's thread but for the claim.
struct spy_watch {
    _Atomic uint64_t turn; // counts begins and ends: odd while a read is under way
    _Atomic pid_t pid;     // of that read
};

#define SPY_WATCH_CLAIMED UINT64_MAX

static inline void spy_watch_begin(struct spy_watch *w, pid_t pid)
{
    if (!w)
        return;
    atomic_store_explicit(&w->pid, pid, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->turn, 1, memory_order_release);
}

static inline void spy_watch_end(struct spy_watch *w)
{
    if (!w)
        return;
    uint64_t turn = atomic_load_explicit(&w->turn, memory_order_relaxed);
    if (turn != SPY_WATCH_CLAIMED &&
        atomic_compare_exchange_strong_explicit(&w->turn, &turn, turn + 1, memory_order_acq_rel,
                                                memory_order_relaxed))
        return;
    for (;;)
        pause();
}

// Of the watching thread. The number of the read that is under way, or 0.
static inline uint64_t spy_watch_reading(struct spy_watch *w)
{
    uint64_t turn = atomic_load_explicit(&w->turn, memory_order_acquire);
    return turn & 1 && turn != SPY_WATCH_CLAIMED ? turn : 0;
}

// Is that read still under way? Then it never ends, and *ret_pid is whose memory it was to read.
static inline bool spy_watch_claim(struct spy_watch *w, uint64_t turn, pid_t *ret_pid)
{
    *ret_pid = atomic_load_explicit(&w->pid, memory_order_relaxed);
    return atomic_compare_exchange_strong_explicit(&w->turn, &turn, SPY_WATCH_CLAIMED,
                                                   memory_order_acq_rel, memory_order_relaxed);
}
