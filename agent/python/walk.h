// walk.h - one read of a thread's frames, and the walk over that copy. Inside of agent/python.
#pragma once
#include "agent/python/facts.h"
#include "agent/python/places.h"
#include "agent/python/python.h"

enum {
    SPY_PY_CHAIN_MAX = 2 * SPY_PY_DEPTH_MAX, // frames, with those of entries from C
    SPY_PY_TOP = 8,                          // the newest frames, which are read twice
    SPY_PY_AGAIN = 8192,                     // bytes of them
    SPY_PY_MISSES = 12,                      // reads of one sample that may lack a frame
    SPY_PY_SLOW = 4,                         // of one sample that may take too long
};

// A frame as it was walked.
struct spy_py_rec {
    uint64_t addr, code;
    uint64_t ip;    // of a compiled frame (frame.h), owner SPY_PY_OWNER_OBJECT: its line
    uint32_t place; // number in the thread's places
    int32_t id;     // of the code object; SPY_CODE_NONE: not looked up, or none
    int32_t tlbc;   // which copy of the bytecode it runs
    uint8_t owner;
    bool shown; // is one of the frames that were given
};

// What the scheduler has told of a thread. Kept by on_cpu.c.
struct spy_py_cpu_use {
    struct spy_thread_sched then; // at `since`, by CLOCK_MONOTONIC; 0: not yet
    uint64_t since;
    bool steady;          // it ran nearly all the time before that
    uint64_t caused_ns;   // so long at most it has waited for this program since then
    uint64_t waited_ns;   // as last read
    uint64_t often_until; // until when it is to be asked more often
};

// What is kept of a thread state between samples. Made and freed by thread_states.c, which fills
// the first part; the second is what the walks have learned.
struct spy_py_thread {
    uint64_t tstate, interp, next, ident;
    uint64_t native;     // the id that Python keeps; 0: it keeps none
    bool ended;          // found out since it was listed
    uint64_t gil;        // of its interpreter; 0: not known
    uint64_t collecting; // where its garbage collector says that it works; 0: not known
    struct spy_py_facts_plan facts;
    pid_t tid, ns_tid;
    bool is_main;
    bool outlived;                  // the main thread, which has ended while others run on
    bool shares;                    // another thread state has the same thread
    struct spy_py_thread *above;    // runs on top of this one; borrowed
    char name[SPY_PY_NAME_MAX + 4]; // UTF-8; a long one ends in U+2026
    uint32_t name_changes;
    uint64_t named; // monotonic: when it was looked for last; 0: not yet
    struct spy_thread_probe probe;
    struct spy_py_cpu_use cpu_use;
    uint64_t slices;
    uint64_t ran; // the refresh before it was last seen to have run
    uint64_t user[4];

    // It waits, and after the read it will be asked whether it has run meanwhile: how long the read
    // took does not matter.
    bool at_rest;
    bool hasty;        // it calls and returns so fast that a read must not take longer than usual
    uint64_t usual_ns; // that a read takes, a moving average
    size_t usual_copy; // of so many bytes
    uint64_t bottom;   // up to 3.3, or a compiled one: the outermost frame, and how often in a row
    unsigned bottom_seen;             // it was met there
    uint64_t cframe, cframe_previous; // the second in 3.11 only
    uint64_t top[SPY_PY_TOP]; // addresses of the newest frames in the last walk, good or not
    size_t n_top;
    struct spy_py_places places;
    // The last stack that was given, and the count of code objects at which all were checked.
    uint64_t generation;
    uint32_t tlbc_generation;
    struct spy_py_rec *last;
    struct spy_py_frame *frames;
    size_t n_last, last_cap, n_frames, frames_cap;
    uint32_t codes_epoch;
    struct spy_py_stack stack;
    bool has_stack;
    int32_t torn_rate; // moving average, 65536: every read
};

// Room for one sample, shared by the threads of a process. The walked stack is recs[0..n-1],
// innermost first, and then what it shares with the last one of the thread: last[from..n_last-1].
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
};

static inline size_t spy_py_depth(const struct spy_py_thread *th, const struct spy_py_scratch *s)
{
    return s->n + (th->n_last - s->from);
}

static inline const struct spy_py_rec *spy_py_rec_at(const struct spy_py_thread *th,
                                                     const struct spy_py_scratch *s, size_t i)
{
    return i < s->n ? &s->recs[i] : &th->last[s->from + (i - s->n)];
}

// Copies what is shared, so that recs is the whole stack. SPY_ERR_NOMEM; SPY_ERR_LIMIT: too deep.
int spy_py_flatten(const struct spy_py_thread *th, struct spy_py_scratch *s);

struct spy_py_batch;

// Reads and walks once and compares nothing: the caller judges the chain by other reads. The codes
// of spy_py_walk.
int spy_py_walk_unjudged(const struct spy_target *t, const struct spy_py_layout *l,
                         struct spy_py_thread *th, struct spy_py_scratch *s, struct spy_py_batch *b,
                         struct spy_py_facts *ret);

// Reads and walks. 0: s holds a chain that was read in one piece; `checked` asks for the comparison
// of both reads of the newest frames. SPY_ERR_TORN, SPY_ERR_GONE, SPY_ERR_NOMEM.
int spy_py_walk(const struct spy_target *t, const struct spy_py_layout *l, struct spy_py_thread *th,
                struct spy_py_scratch *s, bool checked, struct spy_py_facts *ret);
