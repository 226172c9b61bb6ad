// inside.h - the whole of a spy_python, for the files that it is made of. Inside of agent/python.
//
//   python.c         attaches and frees
//   thread_states.c  the list of threads; bind.c finds the system's, choose.c which are sampled
//   thread_name.c    what the program calls a thread; attribute.c reads that from its object
//   sample.c         one thread, one sample: need it be read, does it run?
//   aside.c          a read of a running thread whose CPU this program has
//   attempt.c        a read without a pause, or with one
//   salvage.c        the part of a stack that is proven by several
//   stack.c          what was walked becomes the thread's stack
//   walk.c           the walk over the copy; batch.c reads that, places.c and learn.c know where
#pragma once
#include "agent/python/walk.h"
#include "shared/base/buf.h"
#include "shared/base/clock.h"
#include "shared/base/map.h"

struct spy_py_found; // thread_states.h

// What is to be wished for after this round. Kept by aside.c.
struct spy_py_follow {
    int cpu;    // of the thread that is followed, plus 1; 0: there is none
    bool met;   // it was on that CPU
    bool trial; // this round is made from another CPU
    unsigned n; // rounds in which it was met
};

struct spy_python {
    struct spy_target *target; // borrowed
    struct spy_py_runtime runtime;
    struct spy_codes codes;
    struct spy_py_thread **threads; // oldest first
    struct spy_py_thread **spare;   // room for the next such list
    struct spy_py_found *found;     // as last read
    size_t n_threads, cap_threads, cap_spare, cap_found;
    struct spy_py_found *left; // that are not sampled: there are too many
    size_t n_left, cap_left;
    size_t asked;         // the place in found of the one whose turn it is (choose.h)
    struct spy_tid *tids; // the system's threads, when a state was bound last
    size_t n_tids;
    uint64_t bound;            // monotonic: when that was
    bool unlisted;             // they could not be listed
    bool unbound;              // or some state has none of them
    struct spy_map seen;       // of one look-up at a time
    struct spy_buf text, name; // room for thread_name.c
    size_t name_next;          // the thread whose turn it is there
    bool renamed;              // one of them has another name since its owner was told
    struct spy_py_scratch scratch;
    bool dirty;          // the list of threads may have changed
    uint64_t refreshed;  // monotonic: when it was known to be right
    uint64_t listed;     // and when it was read
    uint64_t cpu_listed; // CPU time of the process then; 0: not known
    bool resting;        // all threads waited when they were sampled last
    uint64_t sample;     // counts samples: a code object is checked once in each
    uint32_t tid_offset; // see tids.h
    struct spy_py_follow follow;
    struct spy_rand rand;
};
