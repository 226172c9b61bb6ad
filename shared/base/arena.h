// arena.h - memory that is freed all at once, with a cap.
//
// For one round, one request, one answer. Not thread safe.
#pragma once
#include <stddef.h>

struct spy_arena_block;
struct spy_arena {
    struct spy_arena_block *blocks;
    size_t used, max; // bytes handed out; the cap
};

#define SPY_ARENA_INIT(max_bytes) ((struct spy_arena){.max = (max_bytes)})

// size bytes, rounded up to the alignment of any type, zeroed. NULL: the cap or the memory is reached.
void *spy_arena_alloc(struct spy_arena *a, size_t size);
void spy_arena_free(struct spy_arena *a);
#define _cleanup_arena_ __attribute__((cleanup(spy_arena_free)))
