// total.c - the account of many processes.
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include "shared/profile/profile.h"
#include <stdlib.h>
#include <string.h>

// Processes that share one wall time: all of them, or those under one limit.
struct group {
    uint32_t container; // the string of its id; 0: not known
    uint64_t start, end;
    struct spy_account account;
};

static void add_to_group(struct group *g, const struct spy_series *s)
{
    uint64_t end = spy_add_sat(s->start_ns, s->duration_ns);
    g->start = !g->end || s->start_ns < g->start ? s->start_ns : g->start;
    g->end = end > g->end ? end : g->end;
    spy_account_unite(&g->account, &s->account);
}

// The times of processes add up if they ran one after the other, but not if they ran at once: the
// smaller of span and sum is right for both.
static uint64_t wall_of(const struct group *g, enum spy_counter c)
{
    uint64_t sum = g->account.counted[c].of_ns, span = g->end - g->start;
    return sum < span ? sum : span;
}

struct limits {
    struct group *list;
    size_t n, cap;
    struct spy_map by_container; // the id of the label's text -> list
};

static uint32_t container_of(const struct spy_profile *p, const struct spy_series *s)
{
    for (uint32_t i = 0; i < s->n_labels; i++) {
        const struct spy_label *l = spy_profile_label_at(p, s->first_label + i);
        if (!strcmp(spy_profile_text(p, l->key), SPY_LABEL_CONTAINER_ID))
            return l->value;
    }
    return 0;
}

static int limit_of(struct limits *l, uint32_t container, struct group **ret)
{
    // A process without a known container has a limit of its own.
    uint64_t hash = spy_hash_mix(container, container ? 0 : l->n + 1);
    for (uint32_t at = SPY_MAP_FIRST, i;
         container && (i = spy_map_next(&l->by_container, hash, &at)) != SPY_MAP_NONE;)
        if (l->list[i].container == container) {
            *ret = &l->list[i];
            return 0;
        }
    int r = spy_grow(&l->list, &l->cap, l->n + 1, sizeof *l->list, 1 << 28);
    if (r == 0)
        r = spy_map_add(&l->by_container, hash, (uint32_t)l->n);
    if (r < 0)
        return r;
    l->list[l->n] = (struct group){.container = container};
    *ret = &l->list[l->n++];
    return 0;
}

static void limits_done(struct limits *l)
{
    free(l->list);
    spy_map_free(&l->by_container);
}

int spy_profile_account(const struct spy_profile *p, struct spy_account *ret)
{
    _cleanup_(limits_done) struct limits limits = {0};
    struct group all = {0}, *limit;
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++) {
        const struct spy_series *s = spy_profile_series_get(p, i);
        if (!s->duration_ns)
            continue;
        int r = limit_of(&limits, container_of(p, s), &limit);
        if (r < 0)
            return r;
        add_to_group(&all, s);
        add_to_group(limit, s);
    }
    struct spy_account a = all.account;
    for (int c = 0; c < SPY_COUNTERS; c++)
        a.counted[c].of_ns = wall_of(&all, c);
    for (int c = SPY_THROTTLED; c <= SPY_PERIODS; c++) {
        double sum = 0;
        for (size_t i = 0; i < limits.n; i++) // each process saw all of it, so their mean
            sum +=
                spy_account_share(&limits.list[i].account, c) * (double)wall_of(&limits.list[i], c);
        a.counted[c].sum = sum < (double)UINT64_MAX ? (uint64_t)(sum + 0.5) : UINT64_MAX;
    }
    *ret = a;
    return 0;
}
