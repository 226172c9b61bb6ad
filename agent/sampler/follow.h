// follow.h - the sampling thread goes to the CPU of a thread that it would have to pause elsewhere.
//
// On that CPU the thread stands still for as long as the sampling thread is awake (aside.h in
// agent/python), which is cheaper than a pause for both: the CPU is awake already, and the frames
// are in its cache. So it is only worth it, and only harmless, where two things hold. The kernel
// lets the sampling thread in when its timer fires (where it waits for its turn, samples are late
// and miss what is short), and the sampling thread is soon asleep again. Both are measured while
// it follows; where one fails, it stops for a second, and each time for twice as long.
//
// The CPUs that whoever started the program has allowed are kept to. New threads and programs
// inherit the binding: leave before you start one.
//
// Threads: all calls from the thread that samples.
#pragma once
#include "agent/python/python.h"
#include <sched.h>

struct spy_follow {
    cpu_set_t allowed;          // before it was bound for the first time
    bool off;                   // for good
    bool is_on;                 // it may follow, as things stood when it woke up
    int cpu;                    // bound to it; -1: not bound
    bool away;                  // or to all but it, for a round
    unsigned against;           // wishes in a row for another CPU
    unsigned idle;              // sleeps in a row without a wish
    unsigned good;              // rounds in a row in which both held
    uint64_t woke;              // when it last did
    uint64_t late_ns, awake_ns; // bound, and smoothed
    uint64_t late_elsewhere_ns; // not bound: what is late for other reasons
    uint64_t off_until, off_ns;
};

void spy_follow_init(struct spy_follow *f);
// Before a sleep, with the wish of the process that is due after it. Moving costs as much as two
// pauses, so a wish for another CPU has to come several times in a row.
void spy_follow_sleep(struct spy_follow *f, struct spy_py_wish wish, uint64_t now);
// After a sleep that was to end at `due`.
void spy_follow_woke(struct spy_follow *f, uint64_t due, uint64_t now);
// Before work that takes long: any CPU that is allowed.
void spy_follow_leave(struct spy_follow *f);
// The only CPU that the thread may run on; -1: there are several.
int spy_follow_cpu(const struct spy_follow *f);
