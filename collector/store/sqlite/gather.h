// gather.h - the samples of one series added up by the store's own ids. Inside of store/sqlite.
//
// Most samples of a window have the stack, thread and state of a sample in the window before it. They
// are added up here, in a table that stays in a processor's cache, before any id is looked up in the
// dictionaries or added to an answer. A full table is emptied into the answer, which adds up as well.
//
// Not thread safe.
#pragma once
#include "collector/store/sqlite/rows.h"
#include <stddef.h>

enum { SPY_GATHER_ROWS = 1 << 16 };

struct spy_gather {
    struct spy_row *rows; // each stack, thread and state once, in the order in which they came
    size_t n, cap;
    uint32_t *slots; // indices into rows, plus one; 0: free
    uint32_t mask;   // there are mask + 1 slots, at least twice as many as rows
    uint64_t seed;   // odd: a sender who chooses stacks and threads cannot choose their slots
};

// Adds to the row of this stack, thread and state; sums saturate. 0, SPY_ERR_NOMEM; SPY_ERR_LIMIT: it
// would be row SPY_GATHER_ROWS + 1.
int spy_gather_add(struct spy_gather *g, const struct spy_row *row);
void spy_gather_clear(struct spy_gather *g); // keeps the memory
void spy_gather_free(struct spy_gather *g);
// Bytes that it holds.
static inline size_t spy_gather_memory(const struct spy_gather *g)
{
    return g->cap * sizeof *g->rows + (g->slots ? ((size_t)g->mask + 1) * sizeof *g->slots : 0);
}
