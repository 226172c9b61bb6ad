// thread.h - what is kept of one thread between samples, and the room that a sample is made in.
// Inside of agent/python.
//
// A thread's record has three lifetimes, and each part is written by one place:
//   id       as long as the thread state: thread_states.c. bind.c adds which states share a thread,
//            thread_name.c the name.
//   learned  from read to read, and wrong at any time: unwind.c and read.c. attempt.c keeps
//            torn_rate, on_cpu.c cpu_use.
//   last     from one stack given to the next: stack.c.
#pragma once
#include "agent/python/facts.h"
#include "agent/python/places.h"
#include "agent/python/python.h"

enum {
    SPY_PY_CHAIN_MAX = 2 * SPY_PY_DEPTH_MAX, // frames, with those of entries from C
    SPY_PY_TOP = 8,                          // the newest frames, which are read twice
};

// One frame of an unwound stack.
struct spy_py_rec {
    uint64_t addr, code;
    uint64_t ip;    // of a compiled frame (frame.h, owner SPY_PY_OWNER_OBJECT): its line
    uint32_t place; // index in learned.places
    int32_t id;     // of the code object; SPY_CODE_NONE: not resolved, or there is none
    int32_t tlbc;   // which copy of the bytecode it runs
    uint8_t owner;
    bool shown; // is one of the frames that are given
};

// What the scheduler says of a thread. Kept by on_cpu.c.
struct spy_py_cpu_use {
    struct spy_thread_sched then; // as read at `since`
    uint64_t since;               // CLOCK_MONOTONIC; 0: not read yet
    bool steady;                  // it ran nearly all the time before `since`
    uint64_t caused_ns;           // upper bound of its waits for this program since then
    uint64_t waited_ns;           // as last read
    uint64_t often_until;         // ask it more often until then
};

// A thread's name. Kept by thread_name.c.
struct spy_py_name {
    char text[SPY_PY_NAME_MAX + 4]; // UTF-8; a long name ends in U+2026
    uint32_t changes;
    uint64_t looked_up; // monotonic: when it was last looked up; 0: not yet
};

// Who the thread is.
struct spy_py_identity {
    uint64_t tstate, interp, next, ident;
    uint64_t native;                // the id that Python keeps; 0: it keeps none
    uint64_t gil;                   // of its interpreter; 0: not known
    struct spy_py_facts_plan facts; // of its interpreter
    pid_t tid, ns_tid;              // in our numbering and in its own; 0: not known
    bool is_main;
    bool ended;                  // found out since it was listed
    bool outlived;               // the main thread, which has ended while others run
    bool shares;                 // another thread state has the same thread
    struct spy_py_thread *above; // the state that runs on top of this one; borrowed
    struct spy_py_name name;
    struct spy_thread_probe probe;
    uint64_t user[4]; // the owner's (python.h)
};

// What earlier reads taught: where to read, and how much to trust it.
struct spy_py_learned {
    struct spy_py_places places;
    uint64_t top[SPY_PY_TOP]; // addresses of the newest frames in the last unwind, valid or not
    size_t n_top;
    uint64_t cframe, cframe_previous; // the second in 3.11 only
    uint64_t usual_ns;                // what a read takes, a moving average
    size_t usual_copy;                // for so many bytes
    // Up to 3.3, and of compiled frames: the outermost frame, and how often in a row it was met.
    uint64_t bottom;
    unsigned bottom_seen;
    int32_t torn_rate;       // moving average; 65536: every read
    unsigned n_read_running; // how many reads it is made of, at most SPY_PY_TRIAL
    unsigned n_read_still;   // valid reads in which the thread did not move (attempt.h)
    struct spy_py_cpu_use cpu_use;
};

// The stack that was given last. Where is_valid is false, only n_recs and its frames are kept, as
// hints of what is likely to be met again.
struct spy_py_last {
    bool is_valid;
    struct spy_py_stack stack;
    struct spy_py_rec *recs; // owned
    size_t n_recs, recs_cap;
    struct spy_py_frame *frames; // owned
    size_t n_frames, frames_cap;
    uint32_t codes_epoch; // the ids in recs and frames are of this epoch (code.h)
    // The counts at which all code objects were validated (facts.h).
    uint64_t generation;
    uint32_t tlbc_generation;
    uint64_t slices; // how often it had been given a CPU; 0: not known
    uint64_t ran;    // the refresh before it was last seen to have run
};

struct spy_py_thread {
    struct spy_py_identity id;
    struct spy_py_learned learned;
    struct spy_py_last last;
};

// Room for one sample, shared by the threads of a process. The unwound stack is recs[0..n-1],
// innermost first, and then what it shares with the thread's last one: last.recs[from..n_recs-1].
struct spy_py_scratch {
    uint8_t *copy;
    size_t copy_cap, n_copy;
    struct spy_py_rec *recs;
    struct spy_py_rec *kept; // of an earlier read of the same sample
    size_t n_kept, kept_cap;
    uint64_t *addrs;
    int32_t *ids;
    struct spy_py_frame *frames;
    size_t n, cap; // of recs
    size_t addrs_cap, ids_cap, frames_cap;
    size_t from;
    bool truncated;
    uint32_t tlbc_generation; // when they were read
    // How the reads of this sample are validated.
    bool
        off_cpu; // whether the thread ran meanwhile is checked afterwards: a read may take any time
    bool strict; // its calls are so short that a read must not take longer than usual
};

static inline size_t spy_py_depth(const struct spy_py_thread *th, const struct spy_py_scratch *s)
{
    return s->n + (th->last.n_recs - s->from);
}

static inline const struct spy_py_rec *spy_py_rec_at(const struct spy_py_thread *th,
                                                     const struct spy_py_scratch *s, size_t i)
{
    return i < s->n ? &s->recs[i] : &th->last.recs[s->from + (i - s->n)];
}
