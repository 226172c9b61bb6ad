// idmap.h - finds a row's id by the numbers that make it unique. Inside of store/sqlite.
//
// Holds at most `max` entries; an add to a full map first forgets all of them, which is right for a
// cache and cheap. max 0: no bound of its own (2^28). Not thread safe.
#pragma once
#include "shared/base/map.h"
#include <stddef.h>
#include <stdint.h>

struct spy_idmap_entry {
    uint64_t key[3];
    int64_t id;
    uint32_t seen; // the slice of time that the row is marked with; for the writer
};

struct spy_idmap {
    struct spy_map map;
    struct spy_idmap_entry *entries;
    size_t cap;
    uint32_t n, max;
};

// NULL: not there. Borrowed until the next add.
struct spy_idmap_entry *spy_idmap_find(const struct spy_idmap *m, const uint64_t key[3]);
// The key is not there yet. 0, SPY_ERR_NOMEM or SPY_ERR_LIMIT.
int spy_idmap_add(struct spy_idmap *m, const uint64_t key[3], int64_t id, uint32_t seen);
void spy_idmap_clear(struct spy_idmap *m);
void spy_idmap_free(struct spy_idmap *m);
static inline size_t spy_idmap_memory(const struct spy_idmap *m)
{
    return m->cap * sizeof *m->entries + spy_map_memory(&m->map);
}
