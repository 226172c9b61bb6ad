// blame.h - who holds the others up: within a round, the thread that holds the GIL that another
// thread waits for. Inside of agent/sampler.
//
// Each sample of a thread that waits for a GIL gives one sample of the series whose label
// podspy.sample.type is gil_blame: the stack of the holder that the same round saw, the thread that
// waited, and the state of the holder. So the sum of the blame is the sum of the waits. A round reads
// thread after thread: the holder may have been read just before it took the GIL. Then the stack is
// the marker "[GIL holder not seen]", and the sum still holds.
//
// The threads of a round have been read anyway: blame reads nothing of the target, makes no system
// call and allocates nothing once its stacks are known. A round without a waiting thread costs one
// comparison.
#pragma once
#include "shared/profile/profile.h"

// What a round counted for one thread.
struct spy_seen_thread {
    uint64_t gil; // of its interpreter (spy_py_thread_gil); 0: not known
    uint32_t stack, thread;
    uint16_t state;
    uint16_t how; // enum spy_py_how
};

// GILS_MAX: interpreters with a GIL of their own; the holders of more are not found.
enum { SPY_BLAME_GILS_MAX = 32 };
struct spy_blame_holders {
    const struct spy_seen_thread *list[SPY_BLAME_GILS_MAX]; // borrowed
    size_t n;
};

// The first thread of the round that holds each GIL.
void spy_blame_find_holders(const struct spy_seen_thread *round, size_t n,
                            struct spy_blame_holders *ret);
// The holder of the GIL that this thread waits for; NULL: none was seen.
const struct spy_seen_thread *spy_blame_holder(const struct spy_blame_holders *h,
                                               const struct spy_seen_thread *waiter);
