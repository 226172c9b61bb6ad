// map.h - the hot maps: interning tables and caches.
//
// spy_map finds a 32-bit index by a 64-bit hash. The entries live in the caller's array, and the
// caller compares them, as two entries can share a hash. Open addressing, linear probing, load at
// most 1/2; entries are removed all at once only. Not thread safe.
//
//     for (uint32_t at = SPY_MAP_FIRST, i; (i = spy_map_next(&m, hash, &at)) != SPY_MAP_NONE;)
//         if (entry i is equal) return i;
//     spy_map_add(&m, hash, new_index);
//
// Cold maps use uthash.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define SPY_MAP_NONE  UINT32_MAX
#define SPY_MAP_FIRST UINT32_MAX

struct spy_map_slot {
    uint32_t tag;   // upper half of the hash
    uint32_t index; // SPY_MAP_NONE: free
};

struct spy_map {
    struct spy_map_slot *slots; // NULL until the first add
    uint32_t mask, used;
    uint64_t *hashes; // by index, to grow without asking the caller
    size_t hashes_cap;
    uint64_t seed; // random, odd: a sender who chooses the entries cannot choose their slots
};

// The next index whose entry may have this hash, or SPY_MAP_NONE. *at starts as SPY_MAP_FIRST.
uint32_t spy_map_next(const struct spy_map *m, uint64_t hash, uint32_t *at);
// Adds index (dense: the caller's array position) under hash. 0, SPY_ERR_NOMEM or SPY_ERR_LIMIT.
int spy_map_add(struct spy_map *m, uint64_t hash, uint32_t index);
// Makes room for n entries at once, so that adding them does not rehash. 0 or SPY_ERR_NOMEM,
// SPY_ERR_LIMIT.
int spy_map_reserve(struct spy_map *m, uint32_t n);
void spy_map_clear(struct spy_map *m); // removes all, keeps the memory
void spy_map_free(struct spy_map *m);
// Bytes that it holds.
static inline size_t spy_map_memory(const struct spy_map *m)
{
    size_t slots = m->slots ? ((size_t)m->mask + 1) * sizeof *m->slots : 0;
    return slots + m->hashes_cap * sizeof *m->hashes;
}

// XXH3 of len bytes; a mix of two words, for keys made of integers.
uint64_t spy_hash_bytes(const void *data, size_t len);
static inline uint64_t spy_hash_mix(uint64_t a, uint64_t b)
{
    uint64_t h = (a ^ (b + 0x9e3779b97f4a7c15u + (a << 6) + (a >> 2))) * 0xff51afd7ed558ccdu;
    h ^= h >> 32;
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ (h >> 29);
}
