// priority.h - gets the sampling thread onto a CPU when its timer fires, not when the target
// sleeps.
//
// A sampler that wakes on the CPU of a running target waits until the target's slice ends or the
// target sleeps: work shorter than the slice is over before it is seen. Three ways let the sampler
// run at once. The best that the kernel and the permissions allow is used:
//   slice  a slice of 0.1 ms under SCHED_OTHER (sched_setattr(2), sched_runtime; Linux 6.12 and
//          later). Under EEVDF a thread that wakes with a shorter slice preempts a thread with a
//          longer slice. Its share of the CPU does not change. Needs no privilege.
//   fifo   SCHED_FIFO 1. Needs CAP_SYS_NICE or RLIMIT_RTPRIO; not used under RLIMIT_RTTIME.
//   nice   the lowest nice value that CAP_SYS_NICE or RLIMIT_NICE permits. This helps, but work
//          shorter than a slice is still missed at times.
// In each case the thread's timers fire without slack (PR_SET_TIMERSLACK, prctl(2)). An ordinary
// thread's timer may fire up to 50 us late, together with another timer of that time: a sampler
// that wakes up with its target, at the start of the target's work, would see that as not yet
// begun.
//
// New threads and programs inherit all this, so the thread is ordinary whenever it does anything
// but sample. A priority that podspy was started with (SCHED_IDLE, a real-time policy) stays.
//
// Threads: all calls from the thread whose priority it is.
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum spy_priority_kind {
    SPY_PRIORITY_NONE, // nothing is allowed: an ordinary thread
    SPY_PRIORITY_NICE,
    SPY_PRIORITY_FIFO,
    SPY_PRIORITY_SLICE,
};

// struct sched_attr in its first size, linux/sched/types.h, which cannot be included together with
// <sched.h>.
struct spy_sched_attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period; // runtime: under SCHED_OTHER the slice, in nanoseconds
};

struct spy_priority {
    struct spy_sched_attr raised, ordinary; // of the thread
    enum spy_priority_kind kind;
    bool is_raised, has_least_slack;
    int slack; // ns, as the thread had it; 0: it has none (a real-time policy)
};

// Tries what is allowed; the thread is ordinary afterwards. Call it from the thread that raise and
// lower are for.
void spy_priority_init(struct spy_priority *p);
// Before the thread waits for its next round, and after. Two system calls each, or none if nothing
// changes.
void spy_priority_raise(struct spy_priority *p);
void spy_priority_lower(struct spy_priority *p);

// "slice", "fifo", "nice", "none".
const char *spy_priority_name(enum spy_priority_kind kind);
// One sentence on what this kind means for samples, and on what gives a better kind ("" for the
// best).
const char *spy_priority_meaning(enum spy_priority_kind kind);
const char *spy_priority_cure(enum spy_priority_kind kind);
