// inside.h - the whole of a spy_python, for the files that it is made of. Inside of agent/python.
//
//   python.c         attaches and frees
//   thread_states.c  the list of threads
//   sample.c         one thread, one sample: need it be read, does it run?
//   attempt.c        a read without a pause, or with one
//   stack.c          what was walked becomes the thread's stack
//   walk.c           the walk over the copy; batch.c reads that, places.c knows where
#pragma once
#include "agent/python/walk.h"

struct spy_py_found; // thread_states.h

struct spy_python {
    struct spy_target *target; // borrowed
    struct spy_py_runtime runtime;
    struct spy_codes codes;
    struct spy_py_thread **threads; // oldest first
    struct spy_py_thread **spare;   // room for the next such list
    struct spy_py_found *found;     // as last read, the newest first
    size_t n_threads, cap_threads, cap_spare, cap_found;
    struct spy_py_scratch scratch;
    bool dirty;          // the list of threads may have changed
    uint64_t refreshed;  // monotonic: when it was known to be right
    uint64_t listed;     // and when it was read
    uint64_t cpu_listed; // CPU time of the process then; 0: not known
    bool resting;        // all threads waited when they were sampled last
    uint64_t sample;     // counts samples: a code object is checked once in each
    uint32_t tid_offset; // see tids.h
};
