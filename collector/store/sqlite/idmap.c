#include "collector/store/sqlite/idmap.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_ENTRIES = 1 << 28 };

static uint64_t hash_key(const uint64_t key[3])
{
    return spy_hash_mix(spy_hash_mix(key[0], key[1]), key[2]);
}

struct spy_idmap_entry *spy_idmap_find(const struct spy_idmap *m, const uint64_t key[3])
{
    uint64_t hash = hash_key(key);
    for (uint32_t at = SPY_MAP_FIRST, i; (i = spy_map_next(&m->map, hash, &at)) != SPY_MAP_NONE;)
        if (!memcmp(m->entries[i].key, key, sizeof m->entries[i].key))
            return &m->entries[i];
    return NULL;
}

int spy_idmap_add(struct spy_idmap *m, const uint64_t key[3], int64_t id, uint32_t seen)
{
    if (m->max && m->n >= m->max)
        spy_idmap_clear(m);
    int r = spy_grow(&m->entries, &m->cap, (size_t)m->n + 1, sizeof *m->entries, MAX_ENTRIES);
    if (r == 0)
        r = spy_map_add(&m->map, hash_key(key), m->n);
    if (r < 0)
        return r;
    m->entries[m->n++] =
        (struct spy_idmap_entry){.key = {key[0], key[1], key[2]}, .id = id, .seen = seen};
    return 0;
}

void spy_idmap_clear(struct spy_idmap *m)
{
    spy_map_clear(&m->map);
    m->n = 0;
}

void spy_idmap_free(struct spy_idmap *m)
{
    spy_map_free(&m->map);
    free(m->entries);
    *m = (struct spy_idmap){.max = m->max};
}
