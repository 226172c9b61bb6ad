#include "collector/grafana/levels.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include "shared/formats/format.h"
#include <stdlib.h>
#include <string.h>

enum { LABEL_MAX = 1024, NO_LABEL = 0, TOTAL_LABEL = 1, OTHER_LABEL = 2 };

struct bar {
    uint32_t parent, label; // label: into labels
    uint64_t self, total;
    uint64_t folded;            // weight of the children that are left out
    uint32_t first, n_children; // into `order`
    bool kept;
};

struct grower {
    const struct spy_profile *p;
    const bool *stop;
    struct spy_arena *arena;
    struct spy_err *err;
    struct bar *bars; // 0 is the root
    uint32_t n, *order;
    const char **labels;               // texts
    uint32_t n_labels, *ranks, *names; // by label: its place in order of texts; in the answer
    struct spy_map by_label, by_bar;
    uint64_t *weights;  // by stack
    uint32_t *label_of; // by function; NO_LABEL: none yet
    size_t n_kept;
};

static void grower_done(struct grower *g)
{
    spy_map_free(&g->by_label);
    spy_map_free(&g->by_bar);
}

static void *grow_alloc(struct grower *g, size_t n, size_t size)
{
    void *at = n < SIZE_MAX / size ? spy_arena_alloc(g->arena, n * size) : NULL;
    if (!at)
        spy_err_set(g->err, SPY_ERR_LIMIT, 0, "the selection takes too much memory: narrow it");
    return at;
}

static int fail_map(struct grower *g, int r)
{
    return r < 0 ? spy_err_set(g->err, r, 0, "the selection takes too much memory: narrow it") : 0;
}

// --- labels ---

static int intern_label(struct grower *g, const char *text, size_t len, uint32_t *ret)
{
    uint64_t hash = spy_hash_bytes(text, len);
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&g->by_label, hash, &at)) != SPY_MAP_NONE;)
        if (!strcmp(g->labels[i], text)) {
            *ret = i;
            return 0;
        }
    char *copy = grow_alloc(g, len + 1, 1);
    if (!copy)
        return SPY_ERR_LIMIT;
    memcpy(copy, text, len);
    *ret = g->n_labels++;
    g->labels[*ret] = copy;
    return fail_map(g, spy_map_add(&g->by_label, hash, *ret));
}

// "name (file)", as functions of one name in several files are several functions.
static int label_function(struct grower *g, uint32_t id, uint32_t *ret)
{
    const struct spy_function *f = spy_profile_function_at(g->p, id);
    const char *name = spy_profile_text(g->p, f->name);
    const char *file = spy_short_filename(spy_profile_text(g->p, f->filename));
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(4 * LABEL_MAX);
    if (g->label_of[id] != NO_LABEL) {
        *ret = g->label_of[id];
        return 0;
    }
    spy_buf_text(&b, name, strlen(name), LABEL_MAX);
    if (*file && f->kind != SPY_FRAME_MARKER) {
        spy_buf_puts(&b, " (");
        spy_buf_text(&b, file, strlen(file), LABEL_MAX);
        spy_buf_putc(&b, ')');
    }
    if (b.failed)
        return spy_err_nomem(g->err);
    int r = intern_label(g, b.len ? spy_buf_str(&b) : "(no name)", b.len ? b.len : 9, ret);
    if (r == 0)
        g->label_of[id] = *ret;
    return r;
}

static int start_labels(struct grower *g)
{
    uint32_t ignored;
    size_t functions = spy_profile_n_functions(g->p);
    g->labels = grow_alloc(g, functions + 4, sizeof *g->labels);
    g->label_of = grow_alloc(g, functions + 1, sizeof *g->label_of);
    if (!g->labels || !g->label_of)
        return SPY_ERR_LIMIT;
    g->n_labels = TOTAL_LABEL;
    g->labels[NO_LABEL] = "";
    int r = fail_map(g, spy_map_add(&g->by_label, 0, NO_LABEL)); // indexes are dense
    if (r == 0)
        r = intern_label(g, "total", 5, &ignored);
    return r < 0 ? r : intern_label(g, "other", 5, &ignored);
}

static int compare_label_texts(const void *a, const void *b, void *grower)
{
    const struct grower *g = grower;
    return strcmp(g->labels[*(const uint32_t *)a], g->labels[*(const uint32_t *)b]);
}

static int rank_labels(struct grower *g)
{
    uint32_t *sorted = grow_alloc(g, g->n_labels, sizeof *sorted);
    g->ranks = grow_alloc(g, g->n_labels, sizeof *g->ranks);
    g->names = grow_alloc(g, g->n_labels, sizeof *g->names);
    if (!sorted || !g->ranks || !g->names)
        return SPY_ERR_LIMIT;
    for (uint32_t i = 0; i < g->n_labels; i++)
        sorted[i] = i;
    qsort_r(sorted, g->n_labels, sizeof *sorted, compare_label_texts, g);
    for (uint32_t i = 0; i < g->n_labels; i++)
        g->ranks[sorted[i]] = i;
    return 0;
}

// --- the tree ---

static int weigh_stacks(struct grower *g, const bool *has, const struct spy_type_asked *type)
{
    g->weights = grow_alloc(g, spy_profile_n_stacks(g->p) + 1, sizeof *g->weights);
    if (!g->weights)
        return SPY_ERR_LIMIT;
    for (uint32_t i = 0; i < spy_profile_n_samples(g->p); i++) {
        const struct spy_sample *s = spy_profile_sample_at(g->p, i);
        if (spy_stop_is_set(g->stop))
            return spy_err_set(g->err, SPY_ERR_GONE, 0, "the client has gone");
        if (has[s->series])
            g->weights[s->stack] = spy_add_sat(g->weights[s->stack], spy_type_weigh(type, s));
    }
    return 0;
}

static int find_bar(struct grower *g, uint32_t parent, uint32_t label, uint32_t *ret)
{
    uint64_t hash = spy_hash_mix(parent, label);
    for (uint32_t at = SPY_MAP_FIRST, i; (i = spy_map_next(&g->by_bar, hash, &at)) != SPY_MAP_NONE;)
        if (g->bars[i].parent == parent && g->bars[i].label == label) {
            *ret = i;
            return 0;
        }
    *ret = g->n++;
    g->bars[*ret] = (struct bar){.parent = parent, .label = label, .kept = true};
    return fail_map(g, spy_map_add(&g->by_bar, hash, *ret));
}

// The stacks that weigh something, and those around them, become bars. A stack's parent has a
// smaller id.
static int grow_bars(struct grower *g)
{
    uint32_t n = spy_profile_n_stacks(g->p), needed = 0;
    uint32_t *bar_of = grow_alloc(g, (size_t)n + 1, sizeof *bar_of);
    if (!bar_of)
        return SPY_ERR_LIMIT;
    for (uint32_t i = n; i-- > 1;)
        if (g->weights[i] || bar_of[i]) { // any number but 0 says that it is needed
            bar_of[i] = bar_of[spy_profile_stack_at(g->p, i)->parent] = 1;
            needed++;
        }
    g->bars = grow_alloc(g, 2 * ((size_t)needed + 1), sizeof *g->bars); // and an "other" of each
    if (!g->bars)
        return SPY_ERR_LIMIT;
    g->bars[g->n++] = (struct bar){.label = TOTAL_LABEL, .self = g->weights[0], .kept = true};
    int r = fail_map(g, spy_map_add(&g->by_bar, 0, 0));
    bar_of[0] = 0;
    for (uint32_t i = 1, label = 0; i < n && r == 0; i++) {
        const struct spy_stack *s = spy_profile_stack_at(g->p, i);
        if (!bar_of[i])
            continue;
        r = label_function(g, spy_profile_frame_at(g->p, s->frame)->function, &label);
        if (r == 0)
            r = find_bar(g, bar_of[s->parent], label, &bar_of[i]);
        if (r == 0)
            g->bars[bar_of[i]].self = spy_add_sat(g->bars[bar_of[i]].self, g->weights[i]);
    }
    return r;
}

static void sum_bars(struct grower *g)
{
    for (uint32_t i = g->n; i-- > 0;) {
        struct bar *b = &g->bars[i];
        b->total = spy_add_sat(b->total, b->self);
        if (i)
            g->bars[b->parent].total = spy_add_sat(g->bars[b->parent].total, b->total);
    }
}

// --- folding ---

// The heaviest first; a parent, which has the smaller id, before its children.
static int compare_bars(const void *a, const void *b, void *grower)
{
    const struct grower *g = grower;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    uint64_t p = g->bars[x].total, q = g->bars[y].total;
    return p != q ? (p < q ? 1 : -1) : x < y ? -1 : x > y;
}

static int fold_bars(struct grower *g, uint32_t max)
{
    uint32_t n = g->n - 1; // without the root
    if (n <= max)
        return 0;
    uint32_t *sorted = grow_alloc(g, n, sizeof *sorted);
    if (!sorted)
        return SPY_ERR_LIMIT;
    for (uint32_t i = 0; i < n; i++)
        sorted[i] = i + 1;
    qsort_r(sorted, n, sizeof *sorted, compare_bars, g);
    for (uint32_t i = max; i < n; i++)
        g->bars[sorted[i]].kept = false;
    for (uint32_t i = 1; i <= n; i++) {
        struct bar *b = &g->bars[i], *up = &g->bars[b->parent];
        if (!b->kept && up->kept)
            up->folded = spy_add_sat(up->folded, b->total);
    }
    for (uint32_t i = 0; i <= n; i++)
        if (g->bars[i].kept && g->bars[i].folded)
            g->bars[g->n++] = (struct bar){.parent = i,
                                           .label = OTHER_LABEL,
                                           .self = g->bars[i].folded,
                                           .total = g->bars[i].folded,
                                           .kept = true};
    return 0;
}

// Siblings stand together, in order of their labels.
static int compare_level_places(const void *a, const void *b, void *grower)
{
    const struct grower *g = grower;
    uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    const struct bar *x = &g->bars[i], *y = &g->bars[k];
    if (x->parent != y->parent)
        return x->parent < y->parent ? -1 : 1;
    if (x->label != y->label)
        return g->ranks[x->label] < g->ranks[y->label] ? -1 : 1;
    return i < k ? -1 : i > k;
}

static int order_bars(struct grower *g)
{
    g->order = grow_alloc(g, g->n, sizeof *g->order);
    if (!g->order)
        return SPY_ERR_LIMIT;
    for (uint32_t i = 1; i < g->n; i++)
        if (g->bars[i].kept)
            g->order[g->n_kept++] = i;
    qsort_r(g->order, g->n_kept, sizeof *g->order, compare_level_places, g);
    for (uint32_t i = (uint32_t)g->n_kept; i-- > 0;) {
        struct bar *up = &g->bars[g->bars[g->order[i]].parent];
        up->first = i;
        up->n_children++;
    }
    return 0;
}

// --- levels ---

struct place {
    uint32_t bar;
    uint64_t x;
};

static int64_t to_int64(uint64_t n)
{
    return n < INT64_MAX ? (int64_t)n : INT64_MAX;
}

static int64_t name_label(struct grower *g, uint32_t label, Spy__Querier__FlameGraph *to)
{
    if (!g->names[label]) {
        to->names[to->n_names] = (char *)(uintptr_t)g->labels[label]; // NOLINT: only read
        g->names[label] = (uint32_t)++to->n_names;
    }
    return g->names[label] - 1;
}

static int put_level(struct grower *g, const struct place *places, size_t n,
                     Spy__Querier__FlameGraph *to)
{
    uint64_t end = 0;
    Spy__Querier__Level *level = grow_alloc(g, 1, sizeof *level);
    int64_t *values = grow_alloc(g, 4 * n, sizeof *values);
    if (!level || !values)
        return SPY_ERR_LIMIT;
    spy__querier__level__init(level);
    level->values = values;
    level->n_values = 4 * n;
    for (size_t i = 0; i < n; i++) {
        const struct bar *b = &g->bars[places[i].bar];
        *values++ = to_int64(places[i].x - end);
        *values++ = to_int64(b->total);
        *values++ = to_int64(b->self);
        *values++ = name_label(g, b->label, to);
        end = spy_add_sat(places[i].x, b->total);
        if (to->max_self < to_int64(b->self))
            to->max_self = to_int64(b->self);
    }
    to->levels[to->n_levels++] = level;
    return 0;
}

// The children of the bars at these places; returns their number.
static size_t place_children(const struct grower *g, const struct place *places, size_t n,
                             struct place *ret)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        const struct bar *b = &g->bars[places[i].bar];
        uint64_t x = places[i].x;
        for (uint32_t k = b->first; k < b->first + b->n_children; k++) {
            ret[found++] = (struct place){g->order[k], x};
            x = spy_add_sat(x, g->bars[g->order[k]].total);
        }
    }
    return found;
}

static int put_levels(struct grower *g, Spy__Querier__FlameGraph *to)
{
    struct place *now = grow_alloc(g, g->n_kept + 1, sizeof *now);
    struct place *next = grow_alloc(g, g->n_kept + 1, sizeof *next);
    to->levels = grow_alloc(g, g->n_kept + 1, sizeof *to->levels); // a path has no more bars
    to->names = grow_alloc(g, g->n_labels, sizeof *to->names);
    if (!now || !next || !to->levels || !to->names)
        return SPY_ERR_LIMIT;
    int r = 0;
    size_t n = 1; // the root, at 0
    while (n && r == 0) {
        r = put_level(g, now, n, to);
        n = place_children(g, now, n, next);
        struct place *other = now;
        now = next;
        next = other;
    }
    to->total = to_int64(g->bars[0].total);
    return r;
}

int spy_levels_make(const struct spy_profile *p, const bool *has, const struct spy_type_asked *type,
                    uint32_t max_nodes, struct spy_arena *arena, const bool *stop,
                    Spy__Querier__FlameGraph *to, struct spy_err *err)
{
    _cleanup_(grower_done) struct grower g = {.p = p, .stop = stop, .arena = arena, .err = err};
    int r = weigh_stacks(&g, has, type);
    if (r == 0)
        r = start_labels(&g);
    if (r == 0)
        r = grow_bars(&g);
    if (r < 0)
        return r;
    sum_bars(&g);
    if (!g.bars[0].total)
        return 0;
    r = fold_bars(&g, max_nodes);
    if (r == 0)
        r = rank_labels(&g);
    if (r == 0)
        r = order_bars(&g);
    return r < 0 ? r : put_levels(&g, to);
}
