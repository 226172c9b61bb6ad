// idmap.h - finds a row's id by the numbers that make it unique. Inside of store/sqlite.
//
// Holds at most `max` entries. Adding to a full map empties it first, which is cheap and right for a
// cache. max 0: 2^28. Not thread safe.
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

// NULL: not found. Borrowed until the next add.
struct spy_idmap_entry *spy_idmap_find(const struct spy_idmap *m, const uint64_t key[3]);
// The key must not be in the map yet. 0, SPY_ERR_NOMEM or SPY_ERR_LIMIT.
int spy_idmap_add(struct spy_idmap *m, const uint64_t key[3], int64_t id, uint32_t seen);
void spy_idmap_clear(struct spy_idmap *m);
void spy_idmap_free(struct spy_idmap *m);
static inline size_t spy_idmap_memory(const struct spy_idmap *m)
{
    return m->cap * sizeof *m->entries + spy_map_memory(&m->map);
}
