// pprof's profile.proto, packed with gzip as its tools expect: one sample for each stack of each
// thread and state, with the process, the thread and the state as labels.
//
// Messages that follow one another are one message whose repeated fields are joined (the encoding
// of protocol buffers says so). The file is written as many small Profiles for that reason: a part
// is packed as soon as it is known, and no tree of messages is held.
#include "pprof.pb-c.h"
#include "shared/base/compress.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include "shared/formats/print.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RAW_MAX = 1 << 30, LABELS_MAX = 12 };

// The string table begins with these.
enum text {
    EMPTY,
    SAMPLES,
    COUNT,
    WALL,
    NANOSECONDS,
    THREAD,
    TID,
    STATE,
    WAITING, // and the other activities, in their order
    RUNNING,
    RUNNABLE,
    GIL,
    GIL_HOLDS,
    GIL_WAITS,
    GC,
    GC_YES,
    PID,
    POD,
    NAMESPACE,
    CONTAINER,
    SERVICE,
    N_TEXTS
};
static const char *const texts[N_TEXTS] = {
    [EMPTY] = "",
    [SAMPLES] = "samples",
    [COUNT] = "count",
    [WALL] = "wall",
    [NANOSECONDS] = "nanoseconds",
    [THREAD] = "thread",
    [TID] = "tid",
    [STATE] = "state",
    [WAITING] = "waiting",
    [RUNNING] = "running",
    [RUNNABLE] = "runnable",
    [GIL] = "gil",
    [GIL_HOLDS] = "holds",
    [GIL_WAITS] = "waits",
    [GC] = "gc",
    [GC_YES] = "collecting",
    [PID] = "pid",
    [POD] = "pod",
    [NAMESPACE] = "namespace",
    [CONTAINER] = "container",
    [SERVICE] = "service",
};

// The labels of a series that become labels of its samples.
static const struct {
    const char *label;
    enum text key;
} series_keys[] = {
    {SPY_LABEL_POD, POD},
    {SPY_LABEL_NAMESPACE, NAMESPACE},
    {SPY_LABEL_CONTAINER, CONTAINER},
    {SPY_LABEL_SERVICE, SERVICE},
};

struct pprof {
    const struct spy_profile *profile;
    const struct spy_view *view;
    struct spy_buf raw;
    int64_t n_strings;
    uint32_t *strings;      // by string of the profile -> its index in the string table; 0: not yet
    bool *frames, *written; // by frame or function of the profile: its location or function is out
    struct spy_view_frames shown;
    uint64_t *path; // of one sample: its locations
    size_t cap_path;
};

static int put_message_part(struct pprof *w, const Spy__Pprof__Profile *part)
{
    size_t n = spy__pprof__profile__get_packed_size(part);
    uint8_t *to = spy_buf_reserve(&w->raw, n);
    if (!to)
        return w->raw.failed;
    spy_buf_commit(&w->raw, spy__pprof__profile__pack(part, to));
    return 0;
}

static int put_pprof_text(struct pprof *w, const char *text)
{
    Spy__Pprof__Profile part = SPY__PPROF__PROFILE__INIT;
    char *table[] = {(char *)text};
    part.string_table = table;
    part.n_string_table = 1;
    w->n_strings++;
    return put_message_part(w, &part);
}

static int intern_text(struct pprof *w, uint32_t string, int64_t *ret)
{
    int r = 0;
    if (string && !w->strings[string]) {
        w->strings[string] = (uint32_t)w->n_strings;
        r = put_pprof_text(w, spy_profile_text(w->profile, string));
    }
    *ret = w->strings[string];
    return r;
}

static int put_function(struct pprof *w, uint32_t id)
{
    const struct spy_function *f = spy_profile_function_at(w->profile, id);
    Spy__Pprof__Function function = SPY__PPROF__FUNCTION__INIT, *list[] = {&function};
    Spy__Pprof__Profile part = SPY__PPROF__PROFILE__INIT;
    int r = intern_text(w, f->name, &function.name);
    if (r == 0)
        r = intern_text(w, f->filename, &function.filename);
    if (r < 0)
        return r;
    function.id = id + 1u;
    function.start_line =
        f->start_line; // without a system_name: pprof would strip "<module>" as C++
    part.function = list;
    part.n_function = 1;
    w->written[id] = true;
    return put_message_part(w, &part);
}

// A location stands for a frame, or for a function where the view merges its lines.
static int find_location(struct pprof *w, uint32_t frame, uint64_t *ret)
{
    struct spy_frame f = *spy_profile_frame_at(w->profile, frame);
    f.line = spy_view_line(w->profile, w->view, &f);
    bool merged = w->view->no_lines || w->view->function_lines;
    uint32_t slot = merged ? f.function : frame;
    *ret = slot + 1u;
    int r = w->written[f.function] ? 0 : put_function(w, f.function);
    if (r < 0 || w->frames[slot])
        return r;
    Spy__Pprof__Line line = SPY__PPROF__LINE__INIT, *lines[] = {&line};
    Spy__Pprof__Location location = SPY__PPROF__LOCATION__INIT, *list[] = {&location};
    Spy__Pprof__Profile part = SPY__PPROF__PROFILE__INIT;
    line.function_id = f.function + 1u;
    line.line = f.line;
    location.id = *ret;
    location.mapping_id = 1;
    location.line = lines;
    location.n_line = 1;
    part.location = list;
    part.n_location = 1;
    w->frames[slot] = true;
    return put_message_part(w, &part);
}

static int find_path(struct pprof *w, uint32_t stack, size_t *ret_n)
{
    int r = spy_view_frames(w->profile, w->view, stack, &w->shown);
    if (r == 0)
        r = spy_grow(&w->path, &w->cap_path, w->shown.n, sizeof *w->path, 1 << 26);
    for (size_t i = 0; i < w->shown.n && r == 0; i++)
        r = find_location(w, w->shown.list[i], &w->path[i]);
    *ret_n = w->shown.n;
    return r;
}

struct labels {
    Spy__Pprof__Label store[LABELS_MAX], *list[LABELS_MAX];
    size_t n;
};

static void add_pprof_label(struct labels *l, enum text key, int64_t str, int64_t num)
{
    l->store[l->n] = (Spy__Pprof__Label)SPY__PPROF__LABEL__INIT;
    l->store[l->n].key = key;
    l->store[l->n].str = str;
    l->store[l->n].num = num;
    l->list[l->n] = &l->store[l->n];
    l->n++;
}

// The string of a label's value, which the profile knows by its text only.
static int put_series_label(struct pprof *w, uint32_t series, const char *label, enum text key,
                            struct labels *l)
{
    const struct spy_series *s = spy_profile_series_get(w->profile, series);
    for (uint32_t i = s->first_label; i < s->first_label + s->n_labels; i++) {
        const struct spy_label *at = spy_profile_label_at(w->profile, i);
        int64_t value;
        if (strcmp(spy_profile_text(w->profile, at->key), label) != 0)
            continue;
        int r = intern_text(w, at->value, &value);
        if (r == 0)
            add_pprof_label(l, key, value, 0);
        return r;
    }
    return 0;
}

static int add_labels(struct pprof *w, const struct spy_sample *s, struct labels *l)
{
    const struct spy_thread *th = spy_profile_thread_at(w->profile, s->thread);
    const char *pid = spy_profile_series_label(w->profile, s->series, SPY_LABEL_PID);
    int64_t text;
    int r = 0;
    for (size_t i = 0; i < SPY_COUNT(series_keys) && r == 0; i++)
        r = put_series_label(w, s->series, series_keys[i].label, series_keys[i].key, l);
    if (pid)
        add_pprof_label(l, PID, 0, strtoll(pid, NULL, 10));
    if (th->tid)
        add_pprof_label(l, TID, 0, (int64_t)th->tid);
    if (r == 0 && th->name) {
        r = intern_text(w, th->name, &text);
        add_pprof_label(l, THREAD, text, 0);
    }
    add_pprof_label(l, STATE, WAITING + (int64_t)spy_state_activity(s->state), 0);
    if (s->state & (SPY_STATE_GIL_HOLDS | SPY_STATE_GIL_WAITS))
        add_pprof_label(l, GIL, s->state & SPY_STATE_GIL_HOLDS ? GIL_HOLDS : GIL_WAITS, 0);
    if (s->state & SPY_STATE_GC)
        add_pprof_label(l, GC, GC_YES, 0);
    return r;
}

static int put_sample(struct pprof *w, const struct spy_sample *s)
{
    Spy__Pprof__Sample sample = SPY__PPROF__SAMPLE__INIT, *list[] = {&sample};
    Spy__Pprof__Profile part = SPY__PPROF__PROFILE__INIT;
    struct labels labels = {0};
    int64_t values[] = {(int64_t)spy_min(s->count, INT64_MAX), (int64_t)spy_min(s->ns, INT64_MAX)};
    int r = find_path(w, s->stack, &sample.n_location_id);
    if (r == 0)
        r = add_labels(w, s, &labels);
    if (r < 0)
        return r;
    sample.location_id = w->path;
    sample.value = values;
    sample.n_value = SPY_COUNT(values);
    sample.label = labels.list;
    sample.n_label = labels.n;
    part.sample = list;
    part.n_sample = 1;
    return put_message_part(w, &part);
}

static int put_samples(struct pprof *w)
{
    int r = 0;
    for (uint32_t i = 0; i < spy_profile_n_samples(w->profile) && r == 0; i++) {
        const struct spy_sample *s = spy_profile_sample_at(w->profile, i);
        if (spy_stop_is_set(w->view->stop))
            r = SPY_ERR_GONE;
        else if (spy_view_has(w->view, s))
            r = put_sample(w, s);
    }
    return r;
}

// The window is that of all series together, and the period the mean of theirs.
static void find_window(const struct spy_profile *p, Spy__Pprof__Profile *part)
{
    uint64_t start = UINT64_MAX, end = 0, period = 0, known = 0;
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++) {
        const struct spy_series *s = spy_profile_series_get(p, i);
        if (!s->start_ns)
            continue;
        start = spy_min(start, s->start_ns);
        uint64_t until = spy_add_sat(s->start_ns, s->duration_ns);
        end = until > end ? until : end;
        period = spy_add_sat(period, s->period_ns);
        known++;
    }
    if (!known)
        return;
    part->time_nanos = (int64_t)spy_min(start, INT64_MAX);
    part->duration_nanos = (int64_t)spy_min(end - start, INT64_MAX);
    part->period = (int64_t)spy_min(period / known, INT64_MAX);
}

// What there is of each profile once, with the texts that all else refers to by number.
static int put_head(struct pprof *w)
{
    Spy__Pprof__ValueType count = SPY__PPROF__VALUE_TYPE__INIT, wall = count;
    Spy__Pprof__ValueType *types[] = {&count, &wall};
    Spy__Pprof__Mapping mapping = SPY__PPROF__MAPPING__INIT, *mappings[] = {&mapping};
    Spy__Pprof__Profile part = SPY__PPROF__PROFILE__INIT;
    int r = 0;
    for (size_t i = 0; i < N_TEXTS && r == 0; i++)
        r = put_pprof_text(w, texts[i]);
    mapping.filename = w->n_strings;
    if (r == 0)
        r = put_pprof_text(w, w->view->title ? w->view->title : "podspy");
    if (r < 0)
        return r;
    count.type = SAMPLES;
    count.unit = COUNT;
    wall.type = WALL;
    wall.unit = NANOSECONDS;
    mapping.id = 1;
    mapping.has_functions = mapping.has_filenames = true;
    mapping.has_line_numbers = !w->view->no_lines;
    part.sample_type = types;
    part.n_sample_type = SPY_COUNT(types);
    part.mapping = mappings;
    part.n_mapping = 1;
    part.period_type = &wall;
    part.default_sample_type = WALL;
    find_window(w->profile, &part);
    return put_message_part(w, &part);
}

// What the samples lack, and why nothing is chosen, as a comment: `go tool pprof -comments`.
static int put_pprof_comment(struct pprof *w)
{
    _cleanup_buf_ struct spy_buf why = SPY_BUF_INIT(SPY_LABEL_MAX);
    Spy__Pprof__Profile part = SPY__PPROF__PROFILE__INIT;
    int64_t comment = w->n_strings;
    spy_view_why_empty(w->profile, w->view, &why);
    if (w->view->notes)
        spy_buf_printf(&why, "%s%s", why.len ? "\n" : "", w->view->notes);
    if (!why.len)
        return 0;
    part.comment = &comment;
    part.n_comment = 1;
    int r = put_pprof_text(w, spy_buf_str(&why));
    return r < 0 ? r : put_message_part(w, &part);
}

static int put_all(struct pprof *w)
{
    w->strings = calloc(spy_profile_n_strings(w->profile) + 1u, sizeof *w->strings);
    w->frames =
        calloc((size_t)spy_profile_n_frames(w->profile) + spy_profile_n_functions(w->profile) + 1u,
               sizeof *w->frames);
    w->written = calloc(spy_profile_n_functions(w->profile) + 1u, sizeof *w->written);
    if (!w->strings || !w->frames || !w->written)
        return SPY_ERR_NOMEM;
    int r = put_head(w);
    if (r == 0)
        r = put_pprof_comment(w);
    return r < 0 ? r : put_samples(w);
}

static int print_pprof(const struct spy_profile *p, const struct spy_view *v, struct spy_buf *out,
                       struct spy_err *err)
{
    struct pprof w = {
        .profile = p, .view = v, .raw = SPY_BUF_INIT(v->memory ? v->memory : RAW_MAX)};
    int r = put_all(&w);
    if (r == 0)
        r = spy_compress(SPY_ENCODING_GZIP, w.raw.data, w.raw.len, out, err);
    if (r < 0)
        r = spy_print_failed(r, err);
    spy_buf_free(&w.raw);
    free(w.strings);
    free(w.frames);
    free(w.written);
    free(w.path);
    free(w.shown.list);
    return r;
}

const struct spy_format spy_format_pprof = {
    .name = "pprof",
    .media_type = "application/octet-stream",
    .extension = "pb.gz",
    .print = print_pprof,
};
