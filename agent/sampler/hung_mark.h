// hung_mark.h - marks the read that the sampling thread is in, so that another thread can tell when
// a read hangs.
//
// A read of memory that is backed by a hung file system, or by userfaultfd(2), does not return, and
// the kernel lets nothing but the end of the reader interrupt it. A thread that finds a read hung
// claims it. The sampling thread then never returns from the read, and the claimer owns the
// sampler, as it was before the read. All that can be done with the hung thread is to end this
// program or to exec another.
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

// Zeroed by the caller. Written by the sampling thread, except for the claim.
struct spy_hung_mark {
    _Atomic uint64_t read; // counts begins and ends: odd while a read is under way
    _Atomic pid_t pid;     // the process that is read
};

#define SPY_HUNG_MARK_CLAIMED UINT64_MAX

static inline void spy_hung_mark_begin(struct spy_hung_mark *m, pid_t pid)
{
    if (!m)
        return;
    atomic_store_explicit(&m->pid, pid, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->read, 1, memory_order_release);
}

// Does not return if the read was claimed.
static inline void spy_hung_mark_end(struct spy_hung_mark *m)
{
    if (!m)
        return;
    uint64_t read = atomic_load_explicit(&m->read, memory_order_relaxed);
    if (read != SPY_HUNG_MARK_CLAIMED &&
        atomic_compare_exchange_strong_explicit(&m->read, &read, read + 1, memory_order_acq_rel,
                                                memory_order_relaxed))
        return;
    for (;;)
        pause();
}

// For the other thread: the number of the read that is under way, or 0.
static inline uint64_t spy_hung_mark_current(struct spy_hung_mark *m)
{
    uint64_t read = atomic_load_explicit(&m->read, memory_order_acquire);
    return read & 1 && read != SPY_HUNG_MARK_CLAIMED ? read : 0;
}

// True if that read is still under way. Then it never returns, and *ret_pid is the process that it
// was to read.
static inline bool spy_hung_mark_claim(struct spy_hung_mark *m, uint64_t read, pid_t *ret_pid)
{
    *ret_pid = atomic_load_explicit(&m->pid, memory_order_relaxed);
    return atomic_compare_exchange_strong_explicit(&m->read, &read, SPY_HUNG_MARK_CLAIMED,
                                                   memory_order_acq_rel, memory_order_relaxed);
}
