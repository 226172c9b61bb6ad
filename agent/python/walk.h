// walk.h - one read of a thread's frames, and the walk over that copy. Inside of agent/python.
#pragma once
#include "agent/python/python.h"

enum {
    SPY_PY_CHUNK = 16384,   // DATA_STACK_CHUNK_SIZE, Include/internal/pycore_pystate.h
    SPY_PY_SLACK = 768,     // read past the newest frame, for calls made since
    SPY_PY_FRAME_MAX = 144, // bytes of a frame without locals, in any version
    SPY_PY_TOP = 8,         // the newest frames, which are read twice
    SPY_PY_AGAIN = 8192,    // bytes of them
    SPY_PY_SHRINK = 3584,   // bytes of a chunk that are read in vain before it is read no further
    SPY_PY_FACTS = 2048,    // bytes of the interpreter's state
    SPY_PY_PLACES_MAX = 256,
    SPY_PY_COPY_MAX = 8 << 20,
    SPY_PY_MISSES = 12,
};

// A place in the target where frames of the thread were: a piece of a data stack chunk, or one
// frame elsewhere (a generator's on the heap, an entry frame on the C stack).
struct spy_py_place {
    uint64_t addr;
    uint32_t len, room; // bytes to read; bytes that may be read (a chunk's size)
    uint32_t at;        // where they lie in the copy
    uint32_t used;      // end of the newest frame seen in this walk
    uint8_t idle;       // walks that did not need it
    bool is_chunk;
};

struct spy_py_rec {
    uint64_t addr, code, ip;
    uint32_t place;
    int32_t id;   // of the code object; SPY_CODE_NONE: not looked up, or none
    int32_t tlbc; // which copy of the bytecode it runs
    uint8_t owner;
    bool shown; // is one of the frames that were given
};

// What is read of the interpreter's state, wherever it lies: what lies together is one span.
enum spy_py_fact {
    SPY_FACT_HEAD,
    SPY_FACT_GIL,
    SPY_FACT_COLLECTING,
    SPY_FACT_GENERATION,
    SPY_FACT_TLBC,
    SPY_FACTS
};
struct spy_py_facts_plan {
    struct spy_span spans[SPY_FACTS]; // `to` is not used
    size_t n;
    uint16_t at[SPY_FACTS]; // in the bytes of all spans, one after another; SPY_PY_ABSENT: not read
};

struct spy_py_thread {
    uint64_t tstate, interp, next, ident;
    uint64_t native;     // the id that Python keeps; 0: it keeps none
    bool ended;          // found out since it was listed
    uint64_t gil;        // of its interpreter; 0: not known
    uint64_t collecting; // where its garbage collector says that it works; 0: not known
    struct spy_py_facts_plan facts;
    pid_t tid, ns_tid;
    bool is_main;
    bool shares;                 // another thread state has the same thread
    struct spy_py_thread *above; // the one that runs on top of this one; borrowed
    char name[32];
    struct spy_thread_probe probe;
    int sched_fd; // schedstat; -1: none
    uint64_t slices;
    uint64_t cpu;     // of the whole process, before it was read; 0: not known
    unsigned n_quiet; // samples in a row in which that had not changed
    uint64_t user[4];

    uint64_t usual_ns; // that a read takes, a moving average
    uint64_t bottom;   // up to 3.3, the outermost frame, and how often in a row it was met there
    unsigned bottom_seen;
    uint64_t cframe;
    uint64_t top[SPY_PY_TOP]; // addresses of the newest frames in the last walk, good or not
    size_t n_top;
    struct spy_py_place *places;
    size_t n_places, places_cap;
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

// Copies what is shared, so that recs is the whole stack.
int spy_py_flatten(const struct spy_py_thread *th, struct spy_py_scratch *s);

// What the walk found besides the frames.
struct spy_py_facts {
    uint64_t next, head; // of the lists of threads: how the sampler learns that they changed
    bool holds_gil, collecting;
    bool moved; // the newest frame went on between the two reads of it: the thread runs
    uint64_t code_generation; // after the frames were read; 0: not known
    uint32_t next_version;    // in 3.13, what that is made from
};

// Chooses the spans for what th has of gil, collecting and so on.
void spy_py_facts_plan(const struct spy_py_layout *l, struct spy_py_thread *th);
// Reads and walks. 0: s holds a chain that was read in one piece; `checked` asks for the comparison
// of both reads of the newest frames. SPY_ERR_TORN, SPY_ERR_GONE, SPY_ERR_NOMEM.
int spy_py_walk(const struct spy_target *t, const struct spy_py_layout *l, struct spy_py_thread *th,
                struct spy_py_scratch *s, bool checked, struct spy_py_facts *ret);
// After a walk that was taken: forgets places that are no longer needed and fits the others.
void spy_py_places_fit(struct spy_py_thread *th);
