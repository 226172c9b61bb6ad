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
#include "agent/sampler/label_set.h"
#include "shared/profile/timeline.h"

// What a round counted for one thread.
struct spy_seen_thread {
    uint64_t gil; // of its interpreter (spy_py_thread_gil); 0: not known
    uint32_t stack, thread;
    uint16_t state;
    uint16_t how; // enum spy_py_how
};

// Where blame goes; all is borrowed.
struct spy_blame_to {
    struct spy_profile *profile;
    uint32_t epoch;                     // of the profile, not 0
    uint32_t unseen;                    // the stack "[GIL holder not seen]"
    const struct spy_label_set *labels; // of the process
    struct spy_timeline *timeline;      // NULL: none
    uint64_t now_ns;                    // for the timeline
};

// The series of a process's blame. epoch is the profile's once somebody was blamed in this window.
struct spy_blame_series {
    uint32_t series, epoch;
};

struct spy_blamed {
    uint64_t waits;  // samples of threads that waited
    uint64_t unseen; // part of waits: no holder was seen
    uint64_t lost;   // part of waits: there was no room for the blame
};

// Counts the blame of a round with n threads, which stands for so many rounds. The result is 0, or why
// there was no room for ret->lost of it. SPY_BLAME_GILS_MAX: the holders of more GILs in one process
// are not found.
enum { SPY_BLAME_GILS_MAX = 32 };
int spy_blame_count(const struct spy_blame_to *to, const struct spy_seen_thread *round, size_t n,
                    uint64_t rounds, struct spy_blame_series *series, struct spy_blamed *ret);
// Adds the time of a part of a window to the series of its blame, if there is any, so that a wait
// weighs the same in both. Quality and CPU time are the process's own series' alone.
void spy_blame_end_part(struct spy_profile *p, uint32_t epoch, const struct spy_series *part,
                        struct spy_blame_series *series);
