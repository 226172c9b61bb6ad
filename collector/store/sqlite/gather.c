#include "collector/store/sqlite/gather.h"
#include "shared/base/clock.h"
#include "shared/base/err.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

enum { FIRST_SLOTS = 1024 };

static uint32_t hash_row(const struct spy_gather *g, const struct spy_row *row)
{
    uint64_t h =
        spy_hash_mix((uint64_t)row->stack ^ g->seed, (uint64_t)row->thread * g->seed + row->state);
    return (uint32_t)(h ^ h >> 32);
}

static int grow_gather_slots(struct spy_gather *g)
{
    uint32_t n = g->slots ? (g->mask + 1) * 2 : FIRST_SLOTS;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (!slots)
        return SPY_ERR_NOMEM;
    if (!g->slots && spy_random_bytes(&g->seed, sizeof g->seed) < 0)
        g->seed = spy_clock_mono_ns();
    g->seed |= 1;
    for (size_t i = 0; i < g->n; i++) {
        uint32_t at = hash_row(g, &g->rows[i]) & (n - 1);
        while (slots[at])
            at = (at + 1) & (n - 1);
        slots[at] = (uint32_t)i + 1;
    }
    free(g->slots);
    g->slots = slots;
    g->mask = n - 1;
    return 0;
}

// Its slot must be free.
static int add_gathered_row(struct spy_gather *g, const struct spy_row *row, uint32_t slot)
{
    if (g->n == SPY_GATHER_ROWS)
        return SPY_ERR_LIMIT;
    int r = spy_grow(&g->rows, &g->cap, g->n + 1, sizeof *g->rows, SPY_GATHER_ROWS);
    if (r < 0)
        return r;
    g->rows[g->n++] = *row;
    g->slots[slot] = (uint32_t)g->n;
    return 0;
}

int spy_gather_add(struct spy_gather *g, const struct spy_row *row)
{
    if ((!g->slots || g->n * 2 > g->mask) && grow_gather_slots(g) < 0)
        return SPY_ERR_NOMEM;
    uint32_t at = hash_row(g, row) & g->mask;
    for (; g->slots[at]; at = (at + 1) & g->mask) {
        struct spy_row *known = &g->rows[g->slots[at] - 1];
        if (known->stack != row->stack || known->thread != row->thread ||
            known->state != row->state)
            continue;
        known->count = spy_add_sat(known->count, row->count);
        known->ns = spy_add_sat(known->ns, row->ns);
        return 0;
    }
    return add_gathered_row(g, row, at);
}

void spy_gather_clear(struct spy_gather *g)
{
    if (g->n)
        memset(g->slots, 0, ((size_t)g->mask + 1) * sizeof *g->slots);
    g->n = 0;
}

void spy_gather_free(struct spy_gather *g)
{
    free(g->rows);
    free(g->slots);
    *g = (struct spy_gather){0};
}
