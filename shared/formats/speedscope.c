// speedscope's file format (its published file-format-schema.json): one "sampled" profile for each
// thread of each process, frames shared. speedscope's Time Order shows the samples in file order:
// with a timeline that is their order in time, and without one the names say that it is not.
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include "shared/formats/print.h"
#include "shared/profile/timeline.h"
#include <stdlib.h>
#include <string.h>

struct writer {
    const struct spy_profile *profile;
    const struct spy_view *view;
    const struct spy_timeline *timeline; // NULL: the samples are merged
    struct spy_buf *out;
    uint32_t *frame_ids; // by frame of the profile -> 1 + index in shared.frames
    struct spy_frame *frames;
    size_t n_frames, cap_frames;
    uint32_t *path;
    size_t cap_path;
    struct spy_map map;
    bool by_time;
};

struct group {
    uint32_t series, thread;
    char *name;
    uint32_t *samples; // ids in the profile, or runs of the timeline
    size_t n, cap;
};

static uint32_t count_given_samples(const struct writer *w)
{
    return w->timeline ? spy_timeline_n(w->timeline) : spy_profile_n_samples(w->profile);
}

static uint64_t multiply_saturated(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static struct spy_sample get_sample(const struct writer *w, uint32_t i)
{
    if (!w->timeline)
        return *spy_profile_sample_at(w->profile, i);
    struct spy_run run = spy_timeline_at(w->timeline, i);
    uint64_t period = spy_profile_series_get(w->profile, run.series)->period_ns;
    return (struct spy_sample){.series = run.series,
                               .stack = run.stack,
                               .thread = run.thread,
                               .state = run.state,
                               .count = run.count,
                               .ns = multiply_saturated(run.count, period)};
}

// Joins the sample at *i with those after it that look the same in the file, and moves *i past
// them.
static struct spy_sample join_samples(const struct writer *w, const struct group *g, size_t *i)
{
    struct spy_sample s = get_sample(w, g->samples[(*i)++]);
    while (w->timeline && *i < g->n) {
        struct spy_sample more = get_sample(w, g->samples[*i]);
        if (more.stack != s.stack)
            break;
        s.count = spy_add_sat(s.count, more.count);
        s.ns = spy_add_sat(s.ns, more.ns);
        ++*i;
    }
    return s;
}

static int intern_frame(struct writer *w, uint32_t frame, uint32_t *ret)
{
    if (w->frame_ids[frame]) {
        *ret = w->frame_ids[frame] - 1;
        return 0;
    }
    struct spy_frame f = *spy_profile_frame_at(w->profile, frame);
    if (w->view->no_lines)
        f.line = 0;
    else if (w->view->function_lines)
        f.line = spy_profile_function_at(w->profile, f.function)->start_line;
    uint64_t hash = spy_hash_mix(f.function, f.line);
    for (uint32_t at = SPY_MAP_FIRST, i; (i = spy_map_next(&w->map, hash, &at)) != SPY_MAP_NONE;)
        if (w->frames[i].function == f.function && w->frames[i].line == f.line) {
            w->frame_ids[frame] = i + 1;
            *ret = i;
            return 0;
        }
    int r = spy_grow(&w->frames, &w->cap_frames, w->n_frames + 1, sizeof *w->frames, 1 << 26);
    if (r == 0)
        r = spy_map_add(&w->map, hash, (uint32_t)w->n_frames);
    if (r < 0)
        return r;
    w->frames[w->n_frames] = f;
    *ret = (uint32_t)w->n_frames++;
    w->frame_ids[frame] = *ret + 1;
    return 0;
}

static void put_shared_frames(struct writer *w)
{
    for (size_t i = 0; i < w->n_frames; i++) {
        const struct spy_function *f = spy_profile_function_at(w->profile, w->frames[i].function);
        spy_buf_puts(w->out, i ? ",\n{\"name\":" : "\n{\"name\":");
        spy_put_json_string(w->out, spy_profile_text(w->profile, f->name),
                            spy_profile_text_len(w->profile, f->name));
        if (f->filename) {
            spy_buf_puts(w->out, ",\"file\":");
            spy_put_json_string(w->out, spy_profile_text(w->profile, f->filename),
                                spy_profile_text_len(w->profile, f->filename));
        }
        if (w->frames[i].line)
            spy_buf_printf(w->out, ",\"line\":%u", w->frames[i].line);
        spy_buf_putc(w->out, '}');
    }
}

static int put_stack_ids(struct writer *w, uint32_t stack)
{
    size_t n = 0;
    for (; stack; stack = spy_profile_stack_at(w->profile, stack)->parent) {
        uint32_t frame = spy_profile_stack_at(w->profile, stack)->frame;
        const struct spy_frame *f = spy_profile_frame_at(w->profile, frame);
        if (w->view->no_native &&
            spy_profile_function_at(w->profile, f->function)->kind == SPY_FRAME_NATIVE)
            continue;
        int r = spy_grow(&w->path, &w->cap_path, n + 1, sizeof *w->path, 1 << 26);
        if (r == 0)
            r = intern_frame(w, frame, &w->path[n]);
        if (r < 0)
            return r;
        n++;
    }
    spy_buf_putc(w->out, '[');
    while (n) {
        spy_buf_printf(w->out, "%u", w->path[--n]);
        if (n)
            spy_buf_putc(w->out, ',');
    }
    spy_buf_putc(w->out, ']');
    return w->out->failed;
}

static void put_weight(struct writer *w, uint64_t count, uint64_t ns)
{
    if (w->by_time)
        spy_buf_printf(w->out, "%llu.%09llu", (unsigned long long)(ns / 1000000000u),
                       (unsigned long long)(ns % 1000000000u));
    else
        spy_buf_printf(w->out, "%llu", (unsigned long long)count);
}

static int put_group(struct writer *w, const struct group *g)
{
    uint64_t count = 0, ns = 0;
    spy_buf_puts(w->out, "{\"type\":\"sampled\",\"name\":");
    spy_put_json_string(w->out, g->name, strlen(g->name));
    spy_buf_printf(w->out, ",\"unit\":\"%s\",\"startValue\":0,\"samples\":[",
                   w->by_time ? "seconds" : "none");
    for (size_t i = 0; i < g->n;) {
        if (i)
            spy_buf_putc(w->out, ',');
        int r = put_stack_ids(w, join_samples(w, g, &i).stack);
        if (r < 0)
            return r;
    }
    spy_buf_puts(w->out, "],\"weights\":[");
    for (size_t i = 0; i < g->n;) {
        if (i)
            spy_buf_putc(w->out, ',');
        struct spy_sample s = join_samples(w, g, &i);
        put_weight(w, s.count, s.ns);
        count = spy_add_sat(count, s.count);
        ns = spy_add_sat(ns, s.ns);
    }
    spy_buf_puts(w->out, "],\"endValue\":");
    put_weight(w, count, ns);
    return spy_buf_putc(w->out, '}');
}

static char *make_group_name(const struct writer *w, uint32_t series, uint32_t thread)
{
    const struct spy_thread *th = spy_profile_thread_at(w->profile, thread);
    const char *pid = spy_profile_series_label(w->profile, series, SPY_LABEL_PID);
    const char *pod = spy_profile_series_label(w->profile, series, SPY_LABEL_POD);
    const char *name = spy_profile_text(w->profile, th->name);
    enum { PART_MAX = 1024 };
    struct spy_buf b = SPY_BUF_INIT(SPY_LABEL_MAX);
    if (pod) {
        spy_buf_text(&b, pod, strlen(pod), PART_MAX);
        spy_buf_putc(&b, ' ');
    }
    if (pid) {
        spy_buf_puts(&b, "Process ");
        spy_buf_text(&b, pid, strlen(pid), PART_MAX);
        spy_buf_putc(&b, ' ');
    }
    spy_buf_printf(&b, "Thread %llu \"", (unsigned long long)th->tid);
    spy_buf_text(&b, name, strlen(name), PART_MAX);
    spy_buf_puts(&b, w->timeline ? "\"" : "\" (merged: no Time Order)");
    return (char *)b.data; // NULL: no memory
}

struct groups {
    struct group *list;
    size_t n, cap;
    struct spy_map map;
};

static void free_groups(struct groups *g)
{
    for (size_t i = 0; i < g->n; i++) {
        free(g->list[i].name);
        free(g->list[i].samples);
    }
    free(g->list);
    spy_map_free(&g->map);
}

static int find_group(struct groups *gs, const struct writer *w, const struct spy_sample *s,
                      struct group **ret)
{
    uint64_t hash = spy_hash_mix(s->series, s->thread);
    for (uint32_t at = SPY_MAP_FIRST, i; (i = spy_map_next(&gs->map, hash, &at)) != SPY_MAP_NONE;)
        if (gs->list[i].series == s->series && gs->list[i].thread == s->thread) {
            *ret = &gs->list[i];
            return 0;
        }
    int r = spy_grow(&gs->list, &gs->cap, gs->n + 1, sizeof *gs->list, 1 << 20);
    if (r == 0)
        r = spy_map_add(&gs->map, hash, (uint32_t)gs->n);
    char *name = r == 0 ? make_group_name(w, s->series, s->thread) : NULL;
    if (!name)
        return r < 0 ? r : SPY_ERR_NOMEM;
    gs->list[gs->n] = (struct group){.series = s->series, .thread = s->thread, .name = name};
    *ret = &gs->list[gs->n++];
    return 0;
}

static int collect_groups(struct groups *gs, struct writer *w)
{
    for (uint32_t i = 0; i < count_given_samples(w); i++) {
        struct spy_sample s = get_sample(w, i);
        struct group *g;
        if (!spy_view_has(w->view, &s))
            continue;
        int r = find_group(gs, w, &s, &g);
        if (r == 0)
            r = spy_grow(&g->samples, &g->cap, g->n + 1, sizeof *g->samples, 1 << 28);
        if (r < 0)
            return r;
        g->samples[g->n++] = i;
        w->by_time = w->by_time || s.ns;
    }
    return 0;
}

static int compare_groups(const void *a, const void *b)
{
    return strcmp(((const struct group *)a)->name, ((const struct group *)b)->name);
}

// The group that speedscope opens on.
static size_t find_heaviest(const struct writer *w, const struct groups *gs)
{
    size_t best = 0;
    uint64_t most = 0;
    for (size_t i = 0; i < gs->n; i++) {
        uint64_t sum = 0;
        for (size_t k = 0; k < gs->list[i].n; k++) {
            struct spy_sample s = get_sample(w, gs->list[i].samples[k]);
            sum += w->by_time ? s.ns : s.count;
        }
        if (sum > most) {
            most = sum;
            best = i;
        }
    }
    return best;
}

// The name of the file: the title, and what a reader must know about it.
static void put_file_name(struct writer *w)
{
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(SPY_LABEL_MAX), why = SPY_BUF_INIT(SPY_LABEL_MAX);
    spy_view_why_empty(w->profile, w->view, &why);
    spy_buf_puts(&b, w->view->title ? w->view->title : "podspy");
    if (why.len)
        spy_buf_printf(&b, " (%s)", spy_buf_str(&why));
    else if (!w->timeline)
        spy_buf_puts(&b, " (samples are merged: Time Order is not their order in time)");
    spy_put_json_string(w->out, spy_buf_str(&b), b.len);
}

static int print_groups(struct writer *w, struct groups *gs)
{
    int r = collect_groups(gs, w);
    if (r < 0)
        return r;
    if (gs->n)
        qsort(gs->list, gs->n, sizeof *gs->list, compare_groups);
    spy_buf_puts(w->out, "{\"$schema\":\"https://www.speedscope.app/file-format-schema.json\","
                         "\"exporter\":\"podspy " PODSPY_VERSION "\",\"name\":");
    put_file_name(w);
    spy_buf_puts(w->out, ",");
    if (gs->n)
        spy_buf_printf(w->out, "\"activeProfileIndex\":%zu,", find_heaviest(w, gs));
    spy_buf_puts(w->out, "\"profiles\":[");
    for (size_t i = 0; i < gs->n && r == 0; i++) {
        spy_buf_puts(w->out, i ? ",\n" : "\n");
        r = put_group(w, &gs->list[i]);
    }
    spy_buf_puts(w->out, "],\"shared\":{\"frames\":[");
    put_shared_frames(w);
    spy_buf_puts(w->out, "]}}\n");
    return r < 0 ? r : w->out->failed;
}

static int print_speedscope(const struct spy_profile *p, const struct spy_view *v,
                            struct spy_buf *out, struct spy_err *err)
{
    struct writer w = {.profile = p, .view = v, .out = out, .timeline = v->timeline};
    if (v->timeline && spy_timeline_is_full(v->timeline))
        w.timeline = NULL; // the beginning alone would be another profile
    _cleanup_(free_groups) struct groups gs = {0};
    w.frame_ids = calloc(spy_profile_n_frames(p) + 1u, sizeof *w.frame_ids);
    int r = w.frame_ids ? print_groups(&w, &gs) : SPY_ERR_NOMEM;
    free(w.frame_ids);
    free(w.frames);
    free(w.path);
    spy_map_free(&w.map);
    return r < 0 ? spy_print_failed(r, err) : 0;
}

const struct spy_format spy_format_speedscope = {
    .name = "speedscope",
    .media_type = "application/json",
    .extension = "json",
    .ordered = true,
    .print = print_speedscope,
};
