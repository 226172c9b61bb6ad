// idset.h - a set of ids of 16 bytes, numbered from 0 in the order they were added. Inside of
// store/clickhouse. Not thread safe.
#pragma once
#include "shared/base/map.h"
#include <stdbool.h>

enum { SPY_ID = 16 }; // bytes: the first half of a SHA-256 sum, or a profile_id

struct spy_idset {
    struct spy_map map;
    uint8_t (*ids)[SPY_ID];
    size_t cap;
    uint32_t n;
};

// The number of the id; SPY_MAP_NONE: it is not in the set.
uint32_t spy_idset_find(const struct spy_idset *s, const uint8_t id[SPY_ID]);
// Adds the id unless it is there. 0 and its number, SPY_ERR_NOMEM or SPY_ERR_LIMIT (2^28).
int spy_idset_add(struct spy_idset *s, const uint8_t id[SPY_ID], uint32_t *ret, bool *ret_is_new);
void spy_idset_clear(struct spy_idset *s); // keeps the memory
void spy_idset_free(struct spy_idset *s);
static inline size_t spy_idset_memory(const struct spy_idset *s)
{
    return s->cap * SPY_ID + spy_map_memory(&s->map);
}
