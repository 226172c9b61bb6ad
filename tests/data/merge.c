#include "tests/data/merge.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

// src id -> dst id of every table, filled as needed; UNSEEN until then.
#define UNSEEN UINT32_MAX

struct merge {
    struct spy_profile *dst;
    const struct spy_profile *src;
    uint32_t *strings, *functions, *frames, *stacks, *threads, *series;
};

static uint32_t *new_ids(uint32_t n)
{
    uint32_t *ids = reallocarray(NULL, (size_t)n + 1, sizeof *ids);
    if (ids)
        memset(ids, 0xff, ((size_t)n + 1) * sizeof *ids);
    return ids;
}

static void merge_done(struct merge *m)
{
    free(m->strings);
    free(m->functions);
    free(m->frames);
    free(m->stacks);
    free(m->threads);
    free(m->series);
}

static int map_string(struct merge *m, uint32_t id, uint32_t *ret)
{
    if (m->strings[id] == UNSEEN) {
        int r = spy_profile_string(m->dst, spy_profile_text(m->src, id),
                                   spy_profile_text_len(m->src, id), &m->strings[id]);
        if (r < 0)
            return r;
    }
    *ret = m->strings[id];
    return 0;
}

static int map_function(struct merge *m, uint32_t id, uint32_t *ret)
{
    if (m->functions[id] == UNSEEN) {
        struct spy_function f = *spy_profile_function_at(m->src, id);
        int r = map_string(m, f.name, &f.name);
        if (r == 0)
            r = map_string(m, f.filename, &f.filename);
        if (r == 0)
            r = spy_profile_function(m->dst, &f, &m->functions[id]);
        if (r < 0)
            return r;
    }
    *ret = m->functions[id];
    return 0;
}

static int map_frame(struct merge *m, uint32_t id, uint32_t *ret)
{
    if (m->frames[id] == UNSEEN) {
        struct spy_frame f = *spy_profile_frame_at(m->src, id);
        int r = map_function(m, f.function, &f.function);
        if (r == 0)
            r = spy_profile_frame(m->dst, f, &m->frames[id]);
        if (r < 0)
            return r;
    }
    *ret = m->frames[id];
    return 0;
}

// Parents have smaller ids, so the unseen ones up to id are mapped in rising order without
// recursion: the path is collected leaf first in `path`, which the ids of the unseen ancestors fit
// in.
static int map_stack(struct merge *m, uint32_t id, uint32_t *ret)
{
    uint32_t unseen = 0, top = id;
    for (; top && m->stacks[top] == UNSEEN; top = spy_profile_stack_at(m->src, top)->parent)
        unseen++;
    _cleanup_free_ uint32_t *path = unseen ? reallocarray(NULL, unseen, sizeof *path) : NULL;
    if (unseen && !path)
        return SPY_ERR_NOMEM;
    uint32_t parent = top ? m->stacks[top] : 0;
    for (uint32_t s = id, i = unseen; i > 0; s = spy_profile_stack_at(m->src, s)->parent)
        path[--i] = s;
    for (uint32_t i = 0; i < unseen; i++) {
        uint32_t frame;
        int r = map_frame(m, spy_profile_stack_at(m->src, path[i])->frame, &frame);
        if (r == 0)
            r = spy_profile_stack(m->dst, parent, frame, &m->stacks[path[i]]);
        if (r < 0)
            return r;
        parent = m->stacks[path[i]];
    }
    *ret = parent;
    return 0;
}

static int map_thread(struct merge *m, uint32_t id, uint32_t *ret)
{
    if (m->threads[id] == UNSEEN) {
        const struct spy_thread *t = spy_profile_thread_at(m->src, id);
        uint32_t name;
        int r = map_string(m, t->name, &name);
        if (r == 0)
            r = spy_profile_thread(m->dst, t->tid, name, &m->threads[id]);
        if (r < 0)
            return r;
    }
    *ret = m->threads[id];
    return 0;
}

static int merge_series(struct merge *m, uint32_t id)
{
    const struct spy_series *s = spy_profile_series_get(m->src, id);
    struct spy_label labels[SPY_LABELS_MAX];
    for (uint32_t i = 0; i < s->n_labels; i++) {
        const struct spy_label *l = spy_profile_label_at(m->src, s->first_label + i);
        int r = map_string(m, l->key, &labels[i].key);
        if (r == 0)
            r = map_string(m, l->value, &labels[i].value);
        if (r < 0)
            return r;
    }
    int r = spy_profile_series(m->dst, labels, s->n_labels, &m->series[id]);
    if (r == 0)
        spy_series_unite(spy_profile_series_at(m->dst, m->series[id]), s);
    return r;
}

static int merge_sample(struct merge *m, const struct spy_sample *s)
{
    uint32_t stack, thread;
    int r = map_stack(m, s->stack, &stack);
    if (r == 0)
        r = map_thread(m, s->thread, &thread);
    if (r == 0)
        r = spy_profile_add(m->dst, m->series[s->series], stack, thread, s->state, s->count, s->ns);
    return r;
}

int merge_profiles(struct spy_profile *dst, const struct spy_profile *src)
{
    if (dst == src)
        return SPY_ERR_INVALID;
    _cleanup_(merge_done) struct merge m = {
        .dst = dst,
        .src = src,
        .strings = new_ids(spy_profile_n_strings(src)),
        .functions = new_ids(spy_profile_n_functions(src)),
        .frames = new_ids(spy_profile_n_frames(src)),
        .stacks = new_ids(spy_profile_n_stacks(src)),
        .threads = new_ids(spy_profile_n_threads(src)),
        .series = new_ids(spy_profile_n_series(src)),
    };
    if (!m.strings || !m.functions || !m.frames || !m.stacks || !m.threads || !m.series)
        return SPY_ERR_NOMEM;
    int r = 0;
    for (uint32_t i = 0; i < spy_profile_n_series(src) && r == 0; i++)
        r = merge_series(&m, i);
    for (uint32_t i = 0; i < spy_profile_n_samples(src) && r == 0; i++)
        r = merge_sample(&m, spy_profile_sample_at(src, i));
    return r;
}
