// places.h - where in a target the frames of one thread lie: what the next read of them must copy.
// Inside of agent/python.
//
// From 3.11 on most frames lie on the data stack, a list of chunks that grows and shrinks with the
// depth. Each entry from C is a frame on the C stack (3.12 and later), each generator and coroutine
// one on the heap, and up to 3.10 all frames are: a deep stack has thousands of such pieces. Those
// that lie near each other are one place, since a read of more than is used costs less than one
// more span. A walk that comes to a frame outside of all places learns those of the whole stack
// from there on (learn.c): what it costs to read, find and learn them grows with their number.
#pragma once
#include "agent/python/layout.h"
#include "agent/target/target.h"

enum {
    SPY_PY_CHUNK = 16384,  // DATA_STACK_CHUNK_SIZE, Include/internal/pycore_pystate.h
    SPY_PY_SLACK = 768,    // bytes read past the newest frame, for calls made since
    SPY_PY_SHRINK = 3584,  // bytes that are read in vain before a place is read no further
    SPY_PY_NEAR = 2048,    // what lies as close together is read in one piece: a span costs more
    SPY_PY_JOINED = 32768, // bytes of a place that several frames share
    SPY_PY_PLACES_MAX = 65536,
    SPY_PY_COPY_MAX = 8 << 20, // bytes of all places
};

// A piece of a data stack chunk, or one or more frames elsewhere.
struct spy_py_place {
    uint64_t addr;
    uint32_t len, room;  // bytes to read; bytes that may be read (a chunk's size)
    uint32_t at, copied; // where they lie in the copy, and how many of them
    uint32_t low, used;  // start of the outermost and end of the newest frame seen in this walk
    uint32_t kept_low, kept_used; // the same of all walks since it was fitted last
    uint8_t idle;                 // walks that did not need it
    uint8_t walks;                // since it was fitted last
    bool is_chunk;
};

// All of a thread, zeroed at first; spy_py_places_done frees what it owns. A place keeps its number
// for as long as it is one, except for those that take the numbers of others that went.
struct spy_py_places {
    struct spy_py_place *list;
    uint32_t *order; // numbers of those that can be found, by address
    size_t n, n_sorted, cap, order_cap;
    uint64_t cut; // the frame at which COPY_MAX was reached when the stack was learned; 0: none
};

void spy_py_places_done(struct spy_py_places *p);
// Puts the places one after another in the copy, and returns the bytes of all.
size_t spy_py_places_lay_out(struct spy_py_places *p);
void spy_py_places_drop(struct spy_py_places *p, size_t i);
void spy_py_places_clear(struct spy_py_places *p);

// Adds a place that can be found at once. SPY_ERR_LIMIT, SPY_ERR_NOMEM.
int spy_py_places_insert(struct spy_py_places *p, const struct spy_py_place *place);
// Adds a place that can be found after the next spy_py_places_settle. Cheaper for many places.
int spy_py_places_append(struct spy_py_places *p, const struct spy_py_place *place);
// Sorts what was appended, and joins what lies near each other.
int spy_py_places_settle(struct spy_py_places *p);

// A walk came to a frame at addr that is not in the copy: learns the places of that frame and of
// all further out, by following the pointers from one to the next. `copy` is the copy by the last
// spy_py_places_lay_out, `chunk` the newest chunk of the data stack (0: there is none), `base` a
// frame that ends the stack (0: none). Reads the target: less than once for each new place.
// SPY_ERR_TORN: nothing new was found; SPY_ERR_NOMEM.
int spy_py_places_learn(const struct spy_target *t, const struct spy_py_layout *l,
                        struct spy_py_places *p, const uint8_t *copy, uint64_t chunk, uint64_t base,
                        uint64_t addr);

// A walk begins; it met a frame in place p; it was taken: then places that are no longer needed are
// forgotten and the others fitted to what walks used of them.
void spy_py_places_begin(struct spy_py_places *p);
static inline void spy_py_place_use(struct spy_py_place *p, uint32_t at, uint32_t size)
{
    p->used = at + size > p->used ? at + size : p->used;
    p->low = at < p->low ? at : p->low;
}
void spy_py_places_fit(struct spy_py_places *p);

// The place that begins at or last before addr; SIZE_MAX: none does.
size_t spy_py_places_before(const struct spy_py_places *p, uint64_t addr);

// The place that has all of the `size` bytes at addr, or NULL. *hint is where the last one was,
// most likely this one's too, and becomes the number of the one found.
static inline struct spy_py_place *spy_py_places_find(const struct spy_py_places *p, uint64_t addr,
                                                      uint32_t size, size_t *hint)
{
    size_t k = *hint;
    for (int i = 0; i < 2; i++, k = spy_py_places_before(p, addr)) {
        if (k >= p->n)
            continue;
        struct spy_py_place *at = &p->list[k];
        if (addr >= at->addr && addr - at->addr + size <= at->len) {
            *hint = k;
            return at;
        }
    }
    return NULL;
}
