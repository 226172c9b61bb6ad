// places.h - where in a target the frames of one thread lie: what the next read must copy. Inside
// of agent/python.
//
// Since 3.11 most frames lie on the data stack, a list of chunks that grows and shrinks with the
// depth. Each entry from C is a frame on the C stack (3.12 and later), and each generator and
// coroutine has a frame on the heap. Up to 3.10 all frames are on the heap, and a deep stack has
// thousands of pieces. Pieces near each other form one place, because reading some unused bytes
// costs less than another span. An unwind that meets a frame outside all places learns the places
// of the rest of the stack (learn.c). The cost of reading, finding and learning places grows with
// their number.
#pragma once
#include "agent/python/layout.h"
#include "agent/target/target.h"

enum {
    SPY_PY_CHUNK = 16384,  // DATA_STACK_CHUNK_SIZE, Include/internal/pycore_pystate.h
    SPY_PY_SLACK = 768,    // bytes read past the newest frame, for calls made since
    SPY_PY_SHRINK = 3584,  // unused bytes after which a place is shortened
    SPY_PY_NEAR = 2048,    // pieces as close together are read as one: a span costs more
    SPY_PY_JOINED = 32768, // most bytes of a place that several frames share
    SPY_PY_PLACES_MAX = 65536,
    SPY_PY_COPY_MAX = 8 << 20, // bytes of all places
};

// A piece of a data stack chunk, or one or more frames elsewhere.
struct spy_py_place {
    uint64_t addr;
    uint32_t len, room;  // bytes to read; bytes that may be read (a chunk's size)
    uint32_t at, copied; // where its bytes are in the copy, and how many
    uint32_t low, used;  // start of the outermost and end of the newest frame seen in this unwind
    uint32_t kept_low, kept_used; // the same over all unwinds since it was last fitted
    uint8_t idle;                 // unwinds in a row that did not need it
    uint8_t walks;                // unwinds since it was last fitted
    bool is_chunk;
};

// The places of a thread. Zeroed by the caller; spy_py_places_done frees what it owns. A place
// keeps its index while it exists, except that the last place takes the index of a dropped place.
struct spy_py_places {
    struct spy_py_place *list;
    uint32_t *order; // indices of the places that can be found, by address
    size_t n, n_sorted, cap, order_cap;
    uint64_t cut; // the frame at which COPY_MAX was reached when the stack was learned; 0: none
};

void spy_py_places_done(struct spy_py_places *p);
// Lays the places out one after another in the copy, and returns the size of the copy.
size_t spy_py_places_lay_out(struct spy_py_places *p);
void spy_py_places_drop(struct spy_py_places *p, size_t i);
void spy_py_places_clear(struct spy_py_places *p);

// Adds a place that can be found at once. SPY_ERR_LIMIT, SPY_ERR_NOMEM.
int spy_py_places_insert(struct spy_py_places *p, const struct spy_py_place *place);
// Adds a place that can be found after the next spy_py_places_join. Cheaper for many places.
int spy_py_places_append(struct spy_py_places *p, const struct spy_py_place *place);
// Sorts what was appended, and joins places that lie near each other.
int spy_py_places_join(struct spy_py_places *p);

// Call it when an unwind meets a frame at addr that is not in the copy. Learns the places of that
// frame and of all further out, following the pointers from each to the next. `copy` was laid out
// by the last spy_py_places_lay_out; `chunk` is the newest chunk of the data stack (0: there is
// none); `base` is a frame that ends the stack (0: none). Reads the target less than once for each
// new place. SPY_ERR_TORN: nothing new was found; SPY_ERR_NOMEM.
int spy_py_places_learn(const struct spy_target *t, const struct spy_py_layout *l,
                        struct spy_py_places *p, const uint8_t *copy, uint64_t chunk, uint64_t base,
                        uint64_t addr);

// _begin: an unwind begins. _use: it met a frame in place p. _fit: its stack was kept; drops places
// that are no longer needed, and fits the others to what unwinds used of them.
void spy_py_places_begin(struct spy_py_places *p);
static inline void spy_py_place_use(struct spy_py_place *p, uint32_t at, uint32_t size)
{
    p->used = at + size > p->used ? at + size : p->used;
    p->low = at < p->low ? at : p->low;
}
void spy_py_places_fit(struct spy_py_places *p);

// Index of the last place that begins at or before addr; SIZE_MAX: none does.
size_t spy_py_places_before(const struct spy_py_places *p, uint64_t addr);

// The place that holds all of the `size` bytes at addr, or NULL. *hint is the index of the previous
// frame's place, most likely this one's too, and becomes the index of the place found.
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
