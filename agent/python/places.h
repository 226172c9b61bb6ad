// places.h - where in a target the frames of one thread lie: what the next read of them must copy.
// Inside of agent/python.
//
// Nothing is known of a thread at first; each frame that a walk cannot find in the copy teaches one
// place. From 3.11 on nearly all frames lie on the data stack, a list of chunks that grows and
// shrinks with the depth; a generator's lies on the heap, and up to 3.10 all do. A read of more
// than is used costs less than one more span, or than a second read.
#pragma once
#include "agent/python/layout.h"
#include "agent/target/target.h"

enum {
    SPY_PY_CHUNK = 16384, // DATA_STACK_CHUNK_SIZE, Include/internal/pycore_pystate.h
    SPY_PY_SLACK = 768,   // bytes read past the newest frame, for calls made since
    SPY_PY_SHRINK = 3584, // bytes of a chunk that are read in vain before it is read no further
    SPY_PY_NEAR = 2048,   // what lies as close together is read in one piece: a span costs more
    SPY_PY_PLACES_MAX = 256,
    SPY_PY_COPY_MAX = 8 << 20, // bytes of all places
};

// A piece of a data stack chunk, or one frame elsewhere (a generator's on the heap, an entry frame
// on the C stack); on a heap also several that lie near each other.
struct spy_py_place {
    uint64_t addr;
    uint32_t len, room; // bytes to read; bytes that may be read (a chunk's size)
    uint32_t at;        // where they lie in the copy
    uint32_t used;      // end of the newest frame seen in this walk
    uint8_t idle;       // walks that did not need it
    bool is_chunk;
};

// All of a thread, zeroed at first. `list` is owned: free() it.
struct spy_py_places {
    struct spy_py_place *list;
    size_t n, cap;
};

// Puts the places one after another in the copy, and returns the bytes of all.
size_t spy_py_places_lay_out(struct spy_py_places *p);
void spy_py_places_drop(struct spy_py_places *p, size_t i);

// A walk came to a frame at addr that is not in the copy: where is it? In a chunk that is read
// already but not far enough, in another one of the list that begins at `chunk` (0: there is none),
// or by itself. Reads a few words of the target. SPY_ERR_TORN: nowhere; SPY_ERR_NOMEM.
int spy_py_places_learn(const struct spy_target *t, const struct spy_py_layout *l,
                        struct spy_py_places *p, uint64_t chunk, uint64_t addr);

// After a walk that was taken: forgets places that are no longer needed and fits the others to what
// the walk used of them.
void spy_py_places_fit(struct spy_py_places *p);

// The place that has all of the `size` bytes at addr, or NULL. *hint is where the last one was,
// most likely this one's too, and becomes the number of the one found.
static inline struct spy_py_place *spy_py_places_find(const struct spy_py_places *p, uint64_t addr,
                                                      uint32_t size, size_t *hint)
{
    for (size_t i = 0; i <= p->n; i++) {
        size_t k = i ? i - 1 : *hint;
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
