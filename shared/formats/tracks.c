#include "shared/formats/tracks.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include "shared/formats/process_names.h"
#include "shared/formats/tree.h"
#include <stdlib.h>
#include <string.h>

static uint64_t multiply_saturated(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

struct spy_sample spy_tracks_sample(const struct spy_tracks *t, uint32_t i)
{
    if (!t->timeline)
        return *spy_profile_sample_at(t->profile, i);
    struct spy_run run = spy_timeline_at(t->timeline, i);
    uint64_t period = spy_profile_series_get(t->profile, run.series)->period_ns;
    return (struct spy_sample){.series = run.series,
                               .stack = run.stack,
                               .thread = run.thread,
                               .state = run.state,
                               .count = run.count,
                               .ns = multiply_saturated(run.count, period)};
}

static char *make_track_name(const struct spy_tracks *t, uint32_t series, uint32_t thread)
{
    const struct spy_thread *th = spy_profile_thread_at(t->profile, thread);
    const char *name = spy_profile_text(t->profile, th->name);
    enum { PART_MAX = 1024 };
    struct spy_buf b = SPY_BUF_INIT(SPY_LABEL_MAX);
    spy_process_names_put(t->names, series, &b);
    spy_buf_printf(&b, ", thread %llu \"", (unsigned long long)th->tid);
    spy_buf_text(&b, name, strlen(name), PART_MAX);
    spy_buf_puts(&b, t->timeline ? "\"" : "\" (merged: no Time Order)");
    return (char *)b.data; // NULL: no memory
}

static int find_track_of(struct spy_tracks *t, struct spy_map *map, const struct spy_sample *s,
                         struct spy_track **ret)
{
    uint64_t hash = spy_hash_mix(s->series, s->thread);
    for (uint32_t at = SPY_MAP_FIRST, i; (i = spy_map_next(map, hash, &at)) != SPY_MAP_NONE;)
        if (t->list[i].series == s->series && t->list[i].thread == s->thread) {
            *ret = &t->list[i];
            return 0;
        }
    int r = spy_grow(&t->list, &t->cap, t->n + 1, sizeof *t->list, 1 << 20);
    if (r == 0)
        r = spy_map_add(map, hash, (uint32_t)t->n);
    char *name = r == 0 ? make_track_name(t, s->series, s->thread) : NULL;
    if (!name)
        return r < 0 ? r : SPY_ERR_NOMEM;
    t->list[t->n] = (struct spy_track){.series = s->series, .thread = s->thread, .name = name};
    *ret = &t->list[t->n++];
    return 0;
}

static int collect_samples(struct spy_tracks *t, struct spy_map *map, const struct spy_view *v)
{
    uint32_t n = t->timeline ? spy_timeline_n(t->timeline) : spy_profile_n_samples(t->profile);
    for (uint32_t i = 0; i < n; i++) {
        struct spy_sample s = spy_tracks_sample(t, i);
        struct spy_track *track;
        if (spy_stop_is_set(v->stop))
            return SPY_ERR_GONE;
        if (!spy_view_has(v, &s))
            continue;
        int r = find_track_of(t, map, &s, &track);
        if (r == 0)
            r = spy_grow(&track->samples, &track->cap, track->n + 1, sizeof *track->samples,
                         1 << 28);
        if (r < 0)
            return r;
        track->samples[track->n++] = i;
        t->by_time = t->by_time || s.ns;
    }
    return 0;
}

static int compare_tracks(const void *a, const void *b)
{
    return strcmp(((const struct spy_track *)a)->name, ((const struct spy_track *)b)->name);
}

int spy_tracks_collect(const struct spy_profile *p, const struct spy_view *v,
                       struct spy_tracks *ret)
{
    struct spy_map map = {0};
    *ret = (struct spy_tracks){.profile = p, .timeline = v->timeline};
    if (v->timeline && spy_timeline_is_full(v->timeline))
        ret->timeline = NULL; // the beginning alone would be another profile
    int r = spy_process_names_new(p, &ret->names);
    if (r == 0)
        r = collect_samples(ret, &map, v);
    spy_map_free(&map);
    if (ret->n)
        qsort(ret->list, ret->n, sizeof *ret->list, compare_tracks);
    return r;
}

void spy_tracks_done(struct spy_tracks *t)
{
    for (size_t i = 0; i < t->n; i++) {
        free(t->list[i].name);
        free(t->list[i].samples);
    }
    free(t->list);
    spy_process_names_free(t->names);
}
