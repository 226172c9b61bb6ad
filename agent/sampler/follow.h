// follow.h - moves the sampling thread to the CPU of a thread that it would have to pause
// elsewhere.
//
// On that CPU the thread stands still for as long as the sampling thread is awake (aside.h in
// agent/python). This is cheaper than a pause for both: the CPU is awake already, and the frames
// are in its cache. It is worth it, and harmless, only under two conditions: the kernel lets the
// sampling thread run as soon as its timer fires (if it has to wait, samples are late and miss what
// is short), and the sampling thread soon sleeps again. Both are measured while it follows; if one
// fails, it stops following for a second, and each further time for twice as long.
//
// It uses only the CPUs that were allowed when the program was started. New threads and programs
// inherit the binding: call spy_follow_leave before starting one.
//
// Threads: all calls from the sampling thread.
#pragma once
#include "agent/python/python.h"
#include <sched.h>

struct spy_follow {
    cpu_set_t allowed;          // before it was first bound
    bool off;                   // for good
    bool is_on;                 // it could follow when it last woke up
    int cpu;                    // bound to it; -1: not bound
    bool away;                  // or to all CPUs but that, for a round
    unsigned against;           // wishes in a row for another CPU
    unsigned idle;              // sleeps in a row without a wish
    unsigned good;              // rounds in a row in which both conditions held
    uint64_t woke;              // when it last woke up
    uint64_t late_ns, awake_ns; // while bound; moving averages
    uint64_t late_elsewhere_ns; // while not bound: late for other reasons
    uint64_t off_until, off_ns;
};

void spy_follow_init(struct spy_follow *f);
// Before a sleep, with the wish of the process that is due after it. Moving costs as much as two
// pauses, so a wish for another CPU must come several times in a row.
void spy_follow_sleep(struct spy_follow *f, struct spy_py_wish wish, uint64_t now);
// After a sleep that was to end at `due`.
void spy_follow_woke(struct spy_follow *f, uint64_t due, uint64_t now);
// Before long work: allows every CPU again.
void spy_follow_leave(struct spy_follow *f);
// The only CPU that the thread may run on; -1: there are several.
int spy_follow_cpu(const struct spy_follow *f);
