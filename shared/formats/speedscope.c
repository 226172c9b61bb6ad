// speedscope's file format (its published file-format-schema.json): one "sampled" profile for each
// thread of each process, frames shared. speedscope's Time Order shows the samples in file order:
// with a timeline that is their order in time, and without one the names say that it is not.
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include "shared/formats/print.h"
#include "shared/formats/tracks.h"
#include <stdlib.h>
#include <string.h>

// Scripts for py-spy's files count entries: it writes one for each sample. So does record, unless
// there are more samples than a browser likes.
enum { ENTRIES_MAX = 100000 };

struct writer {
    const struct spy_profile *profile;
    const struct spy_view *view;
    const struct spy_tracks *tracks;
    struct spy_buf *out;
    uint32_t *frame_ids; // by frame of the profile -> 1 + index in shared.frames
    struct spy_frame *frames;
    size_t n_frames, cap_frames;
    struct spy_view_frames shown;
    struct spy_map map;
    bool apart; // an entry for each sample
};

// Joins the sample at *i with those after it that look the same in the file, and moves *i past
// them.
static struct spy_sample join_samples(const struct writer *w, const struct spy_track *t, size_t *i)
{
    struct spy_sample s = spy_tracks_sample(w->tracks, t->samples[(*i)++]);
    while (w->tracks->timeline && !w->apart && *i < t->n) {
        struct spy_sample more = spy_tracks_sample(w->tracks, t->samples[*i]);
        if (more.stack != s.stack)
            break;
        s.count = spy_add_sat(s.count, more.count);
        s.ns = spy_add_sat(s.ns, more.ns);
        ++*i;
    }
    return s;
}

static bool has_few_samples(const struct spy_tracks *ts)
{
    uint64_t n = 0;
    for (size_t i = 0; i < ts->n; i++)
        for (size_t k = 0; k < ts->list[i].n; k++)
            n = spy_add_sat(n, spy_tracks_sample(ts, ts->list[i].samples[k]).count);
    return n <= ENTRIES_MAX;
}

static uint64_t count_entries(const struct writer *w, const struct spy_sample *s)
{
    return w->apart && s->count ? s->count : 1;
}

static int intern_file_frame(struct writer *w, uint32_t frame, uint32_t *ret)
{
    if (w->frame_ids[frame]) {
        *ret = w->frame_ids[frame] - 1;
        return 0;
    }
    struct spy_frame f = *spy_profile_frame_at(w->profile, frame);
    f.line = spy_view_line(w->profile, w->view, &f);
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

// Files of the command line have all keys, as py-spy's do; the published schema has no null.
static void put_place(struct writer *w, const struct spy_function *f, uint32_t line)
{
    bool all = w->view->command_line;
    if (f->filename || all) {
        spy_buf_puts(w->out, ",\"file\":");
        spy_put_json_string(w->out, spy_profile_text(w->profile, f->filename),
                            spy_profile_text_len(w->profile, f->filename));
    }
    if (line)
        spy_buf_printf(w->out, ",\"line\":%u", line);
    else if (all)
        spy_buf_puts(w->out, ",\"line\":null");
    spy_buf_puts(w->out, all ? ",\"col\":null}" : "}");
}

static void put_shared_frames(struct writer *w)
{
    for (size_t i = 0; i < w->n_frames; i++) {
        const struct spy_function *f = spy_profile_function_at(w->profile, w->frames[i].function);
        spy_buf_puts(w->out, i ? ",\n{\"name\":" : "\n{\"name\":");
        spy_put_json_string(w->out, spy_profile_text(w->profile, f->name),
                            spy_profile_text_len(w->profile, f->name));
        put_place(w, f, w->frames[i].line);
    }
}

static int put_stack_ids(struct writer *w, uint32_t stack)
{
    int r = spy_view_frames(w->profile, w->view, stack, &w->shown);
    spy_buf_putc(w->out, '[');
    for (size_t i = w->shown.n; i-- > 0 && r == 0;) {
        uint32_t id;
        r = intern_file_frame(w, w->shown.list[i], &id);
        spy_buf_printf(w->out, i ? "%u," : "%u", r == 0 ? id : 0);
    }
    spy_buf_putc(w->out, ']');
    return r < 0 ? r : w->out->failed;
}

static void put_weight(struct writer *w, uint64_t count, uint64_t ns)
{
    if (w->tracks->by_time)
        spy_buf_printf(w->out, "%llu.%09llu", (unsigned long long)(ns / 1000000000u),
                       (unsigned long long)(ns % 1000000000u));
    else
        spy_buf_printf(w->out, "%llu", (unsigned long long)count);
}

static int put_stacks(struct writer *w, const struct spy_track *t)
{
    int r = 0;
    for (size_t i = 0, n = 0; i < t->n && r == 0;) {
        struct spy_sample s = join_samples(w, t, &i);
        for (uint64_t k = count_entries(w, &s); k-- > 0 && r == 0; n++) {
            if (n)
                spy_buf_putc(w->out, ',');
            r = put_stack_ids(w, s.stack);
        }
    }
    return r;
}

// *ret_sum has the weight of all.
static void put_weights(struct writer *w, const struct spy_track *t, struct spy_sample *ret_sum)
{
    for (size_t i = 0, n = 0; i < t->n;) {
        struct spy_sample s = join_samples(w, t, &i);
        uint64_t entries = count_entries(w, &s);
        for (uint64_t k = entries; k-- > 0; n++) {
            if (n)
                spy_buf_putc(w->out, ',');
            put_weight(w, s.count / entries, s.ns / entries);
        }
        ret_sum->count = spy_add_sat(ret_sum->count, s.count);
        ret_sum->ns = spy_add_sat(ret_sum->ns, s.ns);
    }
}

static int put_track(struct writer *w, const struct spy_track *t)
{
    struct spy_sample sum = {0};
    spy_buf_puts(w->out, "{\"type\":\"sampled\",\"name\":");
    spy_put_json_string(w->out, t->name, strlen(t->name));
    spy_buf_printf(w->out, ",\"unit\":\"%s\",\"startValue\":0,\"samples\":[",
                   w->tracks->by_time ? "seconds" : "none");
    int r = put_stacks(w, t);
    if (r < 0)
        return r;
    spy_buf_puts(w->out, "],\"weights\":[");
    put_weights(w, t, &sum);
    spy_buf_puts(w->out, "],\"endValue\":");
    put_weight(w, sum.count, sum.ns);
    return spy_buf_putc(w->out, '}');
}

// The track that speedscope opens on.
static size_t find_heaviest(const struct spy_tracks *ts)
{
    size_t best = 0;
    uint64_t most = 0;
    for (size_t i = 0; i < ts->n; i++) {
        uint64_t sum = 0;
        for (size_t k = 0; k < ts->list[i].n; k++) {
            struct spy_sample s = spy_tracks_sample(ts, ts->list[i].samples[k]);
            sum += ts->by_time ? s.ns : s.count;
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
    else if (!w->tracks->timeline)
        spy_buf_puts(&b, " (samples are merged: Time Order is not their order in time)");
    if (w->view->notes)
        spy_buf_printf(&b, "\n%s", w->view->notes);
    spy_put_json_string(w->out, spy_buf_str(&b), b.len);
}

static int print_tracks(struct writer *w)
{
    const struct spy_tracks *ts = w->tracks;
    int r = 0;
    spy_buf_puts(w->out, "{\"$schema\":\"https://www.speedscope.app/file-format-schema.json\","
                         "\"exporter\":\"podspy " PODSPY_VERSION "\",\"name\":");
    put_file_name(w);
    spy_buf_puts(w->out, ",");
    if (ts->n)
        spy_buf_printf(w->out, "\"activeProfileIndex\":%zu,", find_heaviest(ts));
    spy_buf_puts(w->out, "\"profiles\":[");
    for (size_t i = 0; i < ts->n && r == 0; i++) {
        spy_buf_puts(w->out, i ? ",\n" : "\n");
        r = put_track(w, &ts->list[i]);
    }
    spy_buf_puts(w->out, "],\"shared\":{\"frames\":[");
    put_shared_frames(w);
    spy_buf_puts(w->out, "]}}\n");
    return r < 0 ? r : w->out->failed;
}

static int print_speedscope(const struct spy_profile *p, const struct spy_view *v,
                            struct spy_buf *out, struct spy_err *err)
{
    _cleanup_(spy_tracks_done) struct spy_tracks tracks = {0};
    struct writer w = {.profile = p, .view = v, .out = out, .tracks = &tracks};
    int r = spy_tracks_collect(p, v, &tracks);
    w.apart = tracks.timeline && v->command_line && has_few_samples(&tracks);
    w.frame_ids = calloc(spy_profile_n_frames(p) + 1u, sizeof *w.frame_ids);
    if (r == 0)
        r = w.frame_ids ? print_tracks(&w) : SPY_ERR_NOMEM;
    free(w.frame_ids);
    free(w.frames);
    free(w.shown.list);
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
