// reader.h - the state of a spy_python, for the files that implement it. Inside of agent/python.
//
//   attach.c         makes and frees it
//   thread_states.c  lists threads; bind.c finds the system's threads, choose.c those to sample
//   thread_name.c    looks up a thread's name; attribute.c reads that from the Thread object
//   sample.c         samples one thread: must it be read, does it run?
//   attempt.c        reads it with or without a pause; aside.c while this program has its CPU
//   salvage.c        finds the part of a stack that several reads prove
//   unwind.c         unwinds the copy that read.c made; places.c and learn.c know what to copy
//   stack.c          resolves and validates the unwound stack, and keeps it as the thread's last
//   locals.c         lists the variables of a frame of that; value.h shows what they hold
#pragma once
#include "agent/python/thread.h"
#include "shared/base/buf.h"
#include "shared/base/clock.h"
#include "shared/base/map.h"

// One thread state as it was listed.
struct spy_py_found {
    uint64_t tstate, interp, next, ident, native;
    pid_t ns_tid, tid;           // 0: not known (yet)
    struct spy_py_thread *known; // NULL: not one of the threads that are sampled
    bool left_out;
    // For a thread that was left out: what it had run when it was last asked, and the refresh that
    // found it or saw it run.
    uint64_t slices, cpu_ns, ran;
};

// Which CPU to wish for after this round. Kept by aside.c.
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
    struct spy_py_found *found;     // as last listed
    size_t n_threads, cap_threads, cap_spare, cap_found;
    struct spy_py_found *left; // threads that are not sampled, because there are too many
    size_t n_left, cap_left;
    size_t asked;         // index in found of the thread whose turn it is (choose.h)
    struct spy_tid *tids; // the system's threads when a state was last bound
    size_t n_tids;
    uint64_t bound;            // monotonic: when that was
    bool unlisted;             // the system's threads could not be listed
    bool unbound;              // some state has no system thread
    struct spy_map seen;       // scratch of one look-up at a time
    struct spy_buf text, name; // scratch of thread_name.c
    size_t name_next;          // index of the thread whose name is looked up next
    bool renamed;              // some name has changed since spy_python_is_quiet last looked
    struct spy_py_scratch scratch;
    bool dirty;          // the list of threads may have changed
    uint64_t refreshed;  // monotonic: when it was last known to be right
    uint64_t listed;     // monotonic: when it was last read
    uint64_t cpu_listed; // CPU time of the process then; 0: not known
    bool resting;        // all threads waited when they were last sampled
    uint64_t sample;     // counts reads: a code object is checked at most once in each
    uint32_t tid_offset; // see tids.h
    struct spy_py_follow follow;
    struct spy_rand rand;
};
