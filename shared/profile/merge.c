// merge.c - one profile added to another.
#include "shared/base/mem.h"
#include "shared/profile/profile.h"
#include <stdlib.h>

// The ids of `from` as those of `into`; UINT32_MAX: not mapped yet.
struct merging {
    struct spy_profile *into;
    const struct spy_profile *from;
    uint32_t *functions, *stacks, *threads, *series;
};

static void merging_done(struct merging *m)
{
    free(m->functions);
    free(m->stacks);
    free(m->threads);
    free(m->series);
}

static uint32_t *make_unmapped(uint32_t n)
{
    uint32_t *list = reallocarray(NULL, n + 1u, sizeof *list);
    for (uint32_t i = 0; list && i < n; i++)
        list[i] = UINT32_MAX;
    return list;
}

static int merge_text(const struct merging *m, uint32_t id, uint32_t *ret)
{
    return spy_profile_string(m->into, spy_profile_text(m->from, id),
                              spy_profile_text_len(m->from, id), ret);
}

static int merge_function(const struct merging *m, uint32_t id, uint32_t *ret)
{
    *ret = m->functions[id];
    if (*ret != UINT32_MAX)
        return 0;
    const struct spy_function *f = spy_profile_function_at(m->from, id);
    struct spy_function like = {.start_line = f->start_line, .kind = f->kind};
    int r = merge_text(m, f->name, &like.name);
    if (r == 0)
        r = merge_text(m, f->filename, &like.filename);
    if (r == 0)
        r = spy_profile_function(m->into, &like, ret);
    if (r == 0)
        m->functions[id] = *ret;
    return r;
}

// Parents have smaller ids, so they are mapped by then.
static int merge_stacks(const struct merging *m)
{
    m->stacks[0] = 0;
    for (uint32_t i = 1; i < spy_profile_n_stacks(m->from); i++) {
        const struct spy_stack *s = spy_profile_stack_at(m->from, i);
        const struct spy_frame *f = spy_profile_frame_at(m->from, s->frame);
        struct spy_frame like = {.line = f->line};
        uint32_t frame;
        int r = merge_function(m, f->function, &like.function);
        if (r == 0)
            r = spy_profile_frame(m->into, like, &frame);
        if (r == 0)
            r = spy_profile_stack(m->into, m->stacks[s->parent], frame, &m->stacks[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

static int merge_threads(const struct merging *m)
{
    for (uint32_t i = 0; i < spy_profile_n_threads(m->from); i++) {
        const struct spy_thread *t = spy_profile_thread_at(m->from, i);
        uint32_t name;
        int r = merge_text(m, t->name, &name);
        if (r == 0)
            r = spy_profile_thread(m->into, t->tid, name, &m->threads[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

static int merge_series(const struct merging *m, uint32_t id)
{
    struct spy_label labels[SPY_LABELS_MAX];
    const struct spy_series *s = spy_profile_series_get(m->from, id);
    int r = 0;
    for (uint32_t i = 0; i < s->n_labels && r == 0; i++) {
        const struct spy_label *l = spy_profile_label_at(m->from, s->first_label + i);
        r = merge_text(m, l->key, &labels[i].key);
        if (r == 0)
            r = merge_text(m, l->value, &labels[i].value);
    }
    if (r == 0)
        r = spy_profile_series(m->into, labels, s->n_labels, &m->series[id]);
    if (r == 0)
        spy_series_unite(spy_profile_series_at(m->into, m->series[id]), s);
    return r;
}

static int start_merging(struct merging *m)
{
    m->functions = make_unmapped(spy_profile_n_functions(m->from));
    m->stacks = make_unmapped(spy_profile_n_stacks(m->from));
    m->threads = make_unmapped(spy_profile_n_threads(m->from));
    m->series = make_unmapped(spy_profile_n_series(m->from));
    if (!m->functions || !m->stacks || !m->threads || !m->series)
        return SPY_ERR_NOMEM;
    int r = merge_stacks(m);
    return r == 0 ? merge_threads(m) : r;
}

int spy_profile_merge(struct spy_profile *into, const struct spy_profile *from, uint32_t series,
                      bool as_ns)
{
    _cleanup_(merging_done) struct merging m = {.into = into, .from = from};
    int r = start_merging(&m);
    for (uint32_t i = 0; r == 0 && i < spy_profile_n_samples(from); i++) {
        const struct spy_sample *s = spy_profile_sample_at(from, i);
        r = spy_profile_add(into, series, m.stacks[s->stack], m.threads[s->thread], s->state,
                            as_ns ? 0 : s->count, as_ns ? s->count : 0);
    }
    return r;
}

int spy_profile_unite(struct spy_profile *into, const struct spy_profile *from)
{
    _cleanup_(merging_done) struct merging m = {.into = into, .from = from};
    int r = start_merging(&m);
    for (uint32_t i = 0; r == 0 && i < spy_profile_n_series(from); i++)
        r = merge_series(&m, i);
    for (uint32_t i = 0; r == 0 && i < spy_profile_n_samples(from); i++) {
        const struct spy_sample *s = spy_profile_sample_at(from, i);
        r = spy_profile_add(into, m.series[s->series], m.stacks[s->stack], m.threads[s->thread],
                            s->state, s->count, s->ns);
    }
    return r;
}
