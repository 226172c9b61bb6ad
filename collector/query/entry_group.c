#include "collector/query/entry_group.h"
#include "shared/base/mem.h"
#include <stdlib.h>

struct grouping {
    struct spy_profile *p;
    const struct spy_filter *filter;
    struct spy_entries entries;
    uint32_t *markers; // by index + 1 in the entries: a stack of one frame; 0: of no entry
    uint32_t *stacks;  // by stack: what it becomes; SPY_STACK_NONE: no sample needs it
    bool alone;
};

static void grouping_done(struct grouping *g)
{
    spy_entries_done(&g->entries);
    free(g->markers);
    free(g->stacks);
}

static int push_marker(struct grouping *g, struct spy_function f, uint32_t *ret)
{
    uint32_t function, frame;
    f.kind = SPY_FRAME_MARKER;
    int r = spy_profile_function(g->p, &f, &function);
    if (r == 0)
        r = spy_profile_frame(g->p, (struct spy_frame){.function = function}, &frame);
    return r < 0 ? r : spy_profile_stack(g->p, 0, frame, ret);
}

static int make_markers(struct grouping *g)
{
    struct spy_function none = {.kind = SPY_FRAME_MARKER};
    g->markers = calloc(g->entries.n + 1, sizeof *g->markers);
    int r = g->markers ? spy_profile_cstr(g->p, "[no entry]", &none.name) : SPY_ERR_NOMEM;
    if (r == 0)
        r = push_marker(g, none, &g->markers[0]);
    for (size_t i = 0; i < g->entries.n && r == 0; i++)
        r = push_marker(g, *spy_profile_function_at(g->p, g->entries.list[i].function),
                        &g->markers[i + 1]);
    return r;
}

// Marks the stacks of samples, and those that lead to them from their entry.
static int mark_needed(struct grouping *g)
{
    uint32_t n = g->entries.n_stacks;
    g->stacks = reallocarray(NULL, (size_t)n + 1, sizeof *g->stacks);
    if (!g->stacks)
        return SPY_ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++)
        g->stacks[i] = SPY_STACK_NONE;
    for (uint32_t i = 0; i < spy_profile_n_samples(g->p); i++)
        if (spy_filter_has(g->filter, spy_profile_sample_at(g->p, i)))
            g->stacks[spy_profile_sample_at(g->p, i)->stack] = 0;
    for (uint32_t i = n; i-- > 1 && !g->alone;)
        if (g->stacks[i] != SPY_STACK_NONE && !g->entries.begins[i])
            g->stacks[spy_profile_stack_at(g->p, i)->parent] = 0;
    return 0;
}

static int make_stacks(struct grouping *g)
{
    const struct spy_entries *e = &g->entries;
    int r = 0;
    for (uint32_t i = 0; i < e->n_stacks && r == 0; i++) {
        if (g->stacks[i] == SPY_STACK_NONE)
            continue;
        if (!i || g->alone) {
            g->stacks[i] = g->markers[e->of_stack[i]];
            continue;
        }
        struct spy_stack s = *spy_profile_stack_at(g->p, i);
        uint32_t parent = e->begins[i] ? g->markers[e->of_stack[i]] : g->stacks[s.parent];
        r = spy_profile_stack(g->p, parent, s.frame, &g->stacks[i]);
    }
    return r;
}

static uint32_t choose_stack(void *arg, const struct spy_sample *s)
{
    const struct grouping *g = arg;
    return spy_filter_has(g->filter, s) ? g->stacks[s->stack] : SPY_STACK_NONE;
}

static int regroup_samples(struct grouping *g)
{
    int r = make_markers(g);
    if (r == 0)
        r = mark_needed(g);
    if (r == 0)
        r = make_stacks(g);
    return r < 0 ? r : spy_profile_restack(g->p, choose_stack, g);
}

int spy_entries_group(const struct spy_question *q, struct spy_selector *s, struct spy_profile *p,
                      struct spy_filter **filter, struct spy_err *err)
{
    _cleanup_(grouping_done) struct grouping g = {.p = p, .filter = *filter};
    g.alone = s->entries_alone;
    int r = spy_entries_find(q, p, &g.entries, err);
    if (r < 0)
        return r;
    r = regroup_samples(&g);
    if (r < 0)
        return spy_err_set(err, r, 0, "the stacks cannot be grouped by entry: %s",
                           spy_code_name(r));
    spy_filter_free(*filter);
    *filter = NULL;
    s->filter = (struct spy_filter_options){.stop = q->stop};
    return spy_filter_new(&s->filter, p, filter, err);
}
