#include "shared/base/arena.h"
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

enum { BLOCK = 65536 };

struct spy_arena_block {
    struct spy_arena_block *next;
    size_t used, size;
    alignas(max_align_t) uint8_t data[];
};

void *spy_arena_alloc(struct spy_arena *a, size_t size)
{
    size_t align = alignof(max_align_t);
    if (size > SIZE_MAX / 2)
        return NULL;
    size = (size + align - 1) / align * align;
    if (size > a->max || a->used > a->max - size)
        return NULL;
    struct spy_arena_block *b = a->blocks;
    if (!b || b->size - b->used < size) {
        size_t room = size > BLOCK / 4 ? size : BLOCK;
        struct spy_arena_block *fresh = calloc(1, sizeof *fresh + room);
        if (!fresh)
            return NULL;
        fresh->size = room;
        // A block made for one large object goes behind the block that still has room.
        if (b && room != BLOCK) {
            fresh->next = b->next;
            b->next = fresh;
        } else {
            fresh->next = b;
            a->blocks = fresh;
        }
        b = fresh;
    }
    void *p = b->data + b->used;
    b->used += size;
    a->used += size;
    return p;
}

void spy_arena_free(struct spy_arena *a)
{
    for (struct spy_arena_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    *a = (struct spy_arena){.max = a->max};
}
