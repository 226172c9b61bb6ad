#include "shared/base/map.h"
#include "shared/base/clock.h"
#include "shared/base/err.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { FIRST_SLOTS = 64, MAX_ENTRIES = 1 << 28 };

uint64_t spy_hash_bytes(const void *data, size_t len)
{
    return XXH3_64bits(data, len);
}

// Entries come from the network and from foreign memory, and the hash has no secret: if slots followed
// from it directly, a sender could put all entries on one chain.
static uint64_t scatter_hash(uint64_t hash, uint64_t seed)
{
    uint64_t h = (hash ^ seed) * seed;
    return h ^ (h >> 32);
}

uint32_t spy_map_next(const struct spy_map *m, uint64_t hash, uint32_t *at)
{
    if (!m->slots)
        return SPY_MAP_NONE;
    hash = scatter_hash(hash, m->seed);
    uint32_t tag = (uint32_t)(hash >> 32);
    uint32_t i = *at == SPY_MAP_FIRST ? (uint32_t)hash & m->mask : (*at + 1) & m->mask;
    for (; m->slots[i].index != SPY_MAP_NONE; i = (i + 1) & m->mask)
        if (m->slots[i].tag == tag) {
            *at = i;
            return m->slots[i].index;
        }
    return SPY_MAP_NONE;
}

static void place_index(struct spy_map_slot *slots, uint32_t mask, uint64_t hash, uint32_t index)
{
    uint32_t i = (uint32_t)hash & mask;
    while (slots[i].index != SPY_MAP_NONE)
        i = (i + 1) & mask;
    slots[i] = (struct spy_map_slot){(uint32_t)(hash >> 32), index};
}

static int grow_slots(struct spy_map *m, uint32_t count)
{
    struct spy_map_slot *slots = reallocarray(NULL, count, sizeof *slots);
    if (!slots)
        return SPY_ERR_NOMEM;
    memset(slots, 0xff, count * sizeof *slots);
    if (!m->slots) {
        if (spy_random_bytes(&m->seed, sizeof m->seed) < 0)
            m->seed = spy_clock_mono_ns();
        m->seed |= 1;
    }
    for (uint32_t i = 0; m->slots && i <= m->mask; i++)
        if (m->slots[i].index != SPY_MAP_NONE)
            place_index(slots, count - 1, scatter_hash(m->hashes[m->slots[i].index], m->seed),
                        m->slots[i].index);
    free(m->slots);
    m->slots = slots;
    m->mask = count - 1;
    return 0;
}

int spy_map_add(struct spy_map *m, uint64_t hash, uint32_t index)
{
    int r = spy_grow(&m->hashes, &m->hashes_cap, (size_t)index + 1, sizeof *m->hashes, MAX_ENTRIES);
    if (r == 0 && (!m->slots || (m->used + 1) * 2 > m->mask))
        r = grow_slots(m, m->slots ? (m->mask + 1) * 2 : FIRST_SLOTS);
    if (r < 0)
        return r;
    m->hashes[index] = hash;
    place_index(m->slots, m->mask, scatter_hash(hash, m->seed), index);
    m->used++;
    return 0;
}

int spy_map_reserve(struct spy_map *m, uint32_t n)
{
    uint32_t count = FIRST_SLOTS;
    int r = spy_grow(&m->hashes, &m->hashes_cap, n, sizeof *m->hashes, MAX_ENTRIES);
    if (r < 0)
        return r;
    while (count / 2 <= n)
        count *= 2;
    return m->slots && count - 1 <= m->mask ? 0 : grow_slots(m, count);
}

void spy_map_clear(struct spy_map *m)
{
    if (m->slots)
        memset(m->slots, 0xff, ((size_t)m->mask + 1) * sizeof *m->slots);
    m->used = 0;
}

void spy_map_free(struct spy_map *m)
{
    free(m->slots);
    free(m->hashes);
    *m = (struct spy_map){0};
}
