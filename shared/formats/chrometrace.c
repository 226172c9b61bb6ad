// The JSON array format of Chrome's trace events, which chrome://tracing and Perfetto open: a call
// begins ("B") at the first sample that has it and ends ("E") with the last, so what a thread did
// between two samples is not in it. Each process and thread has its name as a metadata event ("M").
//
// A call is the same call from one sample to the next if all frames outside of it are the same
// functions; its line is that of the first sample. Without a timeline the samples of a thread are
// laid end to end in no order that means anything, and the thread's name says so.
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include "shared/formats/print.h"
#include "shared/formats/process_names.h"
#include "shared/formats/tracks.h"
#include <stdlib.h>
#include <string.h>

#define MS UINT64_C(1000000) // without a period, a sample is drawn as long

struct trace {
    const struct spy_tracks *tracks;
    const struct spy_view *view;
    struct spy_buf *out;
    uint64_t pid, tid;            // of the track that is being written
    struct spy_view_frames shown; // of a sample
    uint32_t *open;               // frames of the profile, outermost first: the calls begun
    size_t n_open, cap_open;
    bool written; // an event stands before
};

static const struct spy_function *get_function(const struct trace *t, uint32_t frame)
{
    const struct spy_profile *p = t->tracks->profile;
    return spy_profile_function_at(p, spy_profile_frame_at(p, frame)->function);
}

// Trace events count microseconds.
static void begin_event(struct trace *t, char phase, uint64_t ns)
{
    spy_buf_puts(t->out, t->written ? ",\n" : "\n");
    spy_buf_printf(t->out, "{\"ph\":\"%c\",\"pid\":%llu,\"tid\":%llu,\"ts\":%llu.%03llu", phase,
                   (unsigned long long)t->pid, (unsigned long long)t->tid,
                   (unsigned long long)(ns / 1000), (unsigned long long)(ns % 1000));
    t->written = true;
}

static void put_name_event(struct trace *t, const char *what, const char *name)
{
    begin_event(t, 'M', 0);
    spy_buf_printf(t->out, ",\"cat\":\"__metadata\",\"name\":\"%s\",\"args\":{\"name\":", what);
    spy_put_json_string(t->out, name, strlen(name));
    spy_buf_puts(t->out, "}}");
}

// Chromium's parser wants a category and arguments in each event, and speedscope a name.
static void put_call(struct trace *t, uint32_t frame)
{
    const struct spy_profile *p = t->tracks->profile;
    const struct spy_function *f = get_function(t, frame);
    spy_buf_printf(t->out,
                   ",\"cat\":\"%s\",\"name\":", f->kind == SPY_FRAME_NATIVE ? "native" : "python");
    spy_put_json_string(t->out, spy_profile_text(p, f->name), spy_profile_text_len(p, f->name));
}

static void begin_call(struct trace *t, uint32_t frame, uint64_t ns)
{
    const struct spy_profile *p = t->tracks->profile;
    const struct spy_function *f = get_function(t, frame);
    uint32_t line = spy_view_line(p, t->view, spy_profile_frame_at(p, frame));
    begin_event(t, 'B', ns);
    put_call(t, frame);
    spy_buf_puts(t->out, ",\"args\":{\"filename\":");
    spy_put_json_string(t->out, spy_profile_text(p, f->filename),
                        spy_profile_text_len(p, f->filename));
    if (line)
        spy_buf_printf(t->out, ",\"line\":%u", line);
    spy_buf_puts(t->out, "}}");
}

// Ends the innermost calls until `keep` are left.
static void end_calls(struct trace *t, size_t keep, uint64_t ns)
{
    for (; t->n_open > keep; t->n_open--) {
        begin_event(t, 'E', ns);
        put_call(t, t->open[t->n_open - 1]);
        spy_buf_puts(t->out, ",\"args\":{}}");
    }
}

// From this time on the thread is in this stack.
static int change_stack(struct trace *t, uint32_t stack, uint64_t ns)
{
    int r = spy_view_frames(t->tracks->profile, t->view, stack, &t->shown);
    size_t n = t->shown.n, same = 0;
    if (r == 0)
        r = spy_grow(&t->open, &t->cap_open, n, sizeof *t->open, 1 << 26);
    if (r < 0)
        return r;
    const uint32_t *frames = t->shown.list; // innermost first
    while (same < t->n_open && same < n &&
           get_function(t, t->open[same]) == get_function(t, frames[n - 1 - same]))
        same++;
    end_calls(t, same, ns);
    for (; t->n_open < n; t->n_open++) {
        t->open[t->n_open] = frames[n - 1 - t->n_open];
        begin_call(t, t->open[t->n_open], ns);
    }
    return t->out->failed;
}

// A track's samples one after another. A sample lasts until the next begins, unless that is more
// than half a period late: then the thread was not chosen in between, or not sampled.
static int put_track_events(struct trace *t, const struct spy_track *track)
{
    const struct spy_timeline *timeline = t->tracks->timeline;
    uint64_t period = spy_profile_series_get(t->tracks->profile, track->series)->period_ns;
    uint64_t end = 0;
    for (size_t i = 0; i < track->n; i++) {
        struct spy_sample s = spy_tracks_sample(t->tracks, track->samples[i]);
        uint64_t start = timeline ? spy_timeline_at(timeline, track->samples[i]).at_ns : end;
        if (spy_stop_is_set(t->view->stop))
            return SPY_ERR_GONE;
        if (start > spy_add_sat(end, period / 2))
            end_calls(t, 0, end);
        int r = change_stack(t, s.stack, start);
        if (r < 0)
            return r;
        end =
            spy_add_sat(start, t->tracks->by_time ? s.ns : spy_min(s.count, UINT64_MAX / MS) * MS);
    }
    end_calls(t, 0, end);
    return t->out->failed;
}

// Processes of two containers may have one PID, which would make them one process.
static uint64_t choose_pid(const struct spy_profile *p, uint32_t series)
{
    const char *pid = spy_profile_series_label(p, series, SPY_LABEL_PID);
    for (uint32_t i = 0; pid && i < spy_profile_n_series(p); i++) {
        const char *other = spy_profile_series_label(p, i, SPY_LABEL_PID);
        if (i != series && other && !strcmp(pid, other))
            pid = NULL;
    }
    return pid ? strtoull(pid, NULL, 10) : series;
}

static void put_process_event(struct trace *t, uint32_t series)
{
    _cleanup_buf_ struct spy_buf name = SPY_BUF_INIT(SPY_LABEL_MAX);
    spy_process_names_put(t->tracks->names, series, &name);
    put_name_event(t, "process_name", spy_buf_str(&name));
}

static int print_events(struct trace *t)
{
    const struct spy_profile *p = t->tracks->profile;
    int r = 0;
    spy_buf_putc(t->out, '[');
    for (size_t i = 0; i < t->tracks->n && r == 0; i++) {
        const struct spy_track *track = &t->tracks->list[i];
        t->pid = choose_pid(p, track->series);
        t->tid = spy_profile_thread_at(p, track->thread)->tid;
        if (i == 0 || track->series != track[-1].series)
            put_process_event(t, track->series);
        put_name_event(t, "thread_name", track->name);
        r = put_track_events(t, track);
    }
    spy_buf_puts(t->out, "\n]\n");
    return r < 0 ? r : t->out->failed;
}

static int print_chrometrace(const struct spy_profile *p, const struct spy_view *v,
                             struct spy_buf *out, struct spy_err *err)
{
    _cleanup_(spy_tracks_done) struct spy_tracks tracks = {0};
    struct trace t = {.tracks = &tracks, .view = v, .out = out};
    int r = spy_tracks_collect(p, v, &tracks);
    if (r == 0)
        r = print_events(&t);
    free(t.open);
    free(t.shown.list);
    return r < 0 ? spy_print_failed(r, err) : 0;
}

const struct spy_format spy_format_chrometrace = {
    .name = "chrometrace",
    .media_type = "application/json",
    .extension = "json",
    .ordered = true,
    .print = print_chrometrace,
};
