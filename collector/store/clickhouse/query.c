// query.c - the selected windows as a profile.
//
// First the windows: what they hold is added up here, under numbers of this answer. Then the labels,
// stacks and frames that these name, each with one statement. Windows are written after what they
// name, so all is there; what is missing all the same (someone dropped a partition) becomes a
// marker, and no weight is lost.
#include "collector/store/clickhouse/levels.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUERY_SECS = 60, NONE = UINT32_MAX };

struct sum { // a sample of the answer
    uint32_t series, stack, thread, state;
    uint64_t count, ns;
};

struct seen_window { // without its samples
    uint32_t series;
    struct spy_series window;
};

struct path { // of a stack: its frames in answer.steps
    size_t first;
    uint32_t n;
};

struct answer {
    struct spy_click *s;
    struct spy_profile *into;
    const struct spy_select *select;
    uint32_t day_first, day_last;
    unsigned n_rows; // since the bounds were checked

    struct spy_click_reading reading;
    struct spy_idset series, stacks, frames;
    struct spy_map sums_by_key;
    struct sum *sums;
    size_t n_sums, sums_cap;
    struct seen_window *windows;
    size_t n_windows, windows_cap;
    uint32_t *numbers; // of a window's stacks, then of its threads
    size_t numbers_cap;

    uint32_t *series_in, *stacks_in, *frames_in; // ids of `into`; NONE: not there
    struct path *paths;
    uint32_t *steps;
    size_t n_steps, steps_cap;
};

static void answer_free(struct answer *a)
{
    spy_click_reading_free(&a->reading);
    spy_idset_free(&a->series);
    spy_idset_free(&a->stacks);
    spy_idset_free(&a->frames);
    spy_map_free(&a->sums_by_key);
    free(a->sums);
    free(a->windows);
    free(a->numbers);
    free(a->series_in);
    free(a->stacks_in);
    free(a->frames_in);
    free(a->paths);
    free(a->steps);
}

static int fail_adding(int r, struct spy_err *err)
{
    return spy_err_set(err, r, 0,
                       r == SPY_ERR_LIMIT   ? "the answer is too large: narrow the selection"
                       : r == SPY_ERR_NOMEM ? "out of memory"
                                            : "ClickHouse holds an invalid value");
}

static size_t get_memory(const struct answer *a)
{
    return spy_profile_memory(a->into) + spy_click_reading_memory(&a->reading) +
           spy_idset_memory(&a->series) + spy_idset_memory(&a->stacks) +
           spy_idset_memory(&a->frames) + spy_map_memory(&a->sums_by_key) +
           a->sums_cap * sizeof *a->sums + a->windows_cap * sizeof *a->windows +
           a->numbers_cap * sizeof *a->numbers + a->steps_cap * sizeof *a->steps;
}

static int hold_bounds(struct answer *a, struct spy_err *err)
{
    enum { ONE_IN = 1024 };
    if (++a->n_rows % ONE_IN)
        return 0;
    if (spy_stop_is_set(a->select->stop))
        return spy_err_set(err, SPY_ERR_GONE, 0, "the client has gone");
    return a->select->memory && get_memory(a) > a->select->memory ? fail_adding(SPY_ERR_LIMIT, err)
                                                                  : 0;
}

// --- windows ---

static int add_sum(struct answer *a, const struct sum *add)
{
    uint64_t hash = spy_hash_mix(((uint64_t)add->series << 32) | add->stack,
                                 ((uint64_t)add->thread << 32) | add->state);
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&a->sums_by_key, hash, &at)) != SPY_MAP_NONE;) {
        struct sum *s = &a->sums[i];
        if (s->series != add->series || s->stack != add->stack || s->thread != add->thread ||
            s->state != add->state)
            continue;
        s->count = spy_add_sat(s->count, add->count);
        s->ns = spy_add_sat(s->ns, add->ns);
        return 0;
    }
    int r = spy_grow(&a->sums, &a->sums_cap, a->n_sums + 1, sizeof *a->sums, (size_t)1 << 28);
    if (r == 0)
        r = spy_map_add(&a->sums_by_key, hash, (uint32_t)a->n_sums);
    if (r == 0)
        a->sums[a->n_sums++] = *add;
    return r;
}

static int add_window_thread(struct answer *a, uint64_t tid, const struct spy_click_text *name,
                             uint32_t *ret)
{
    uint32_t text;
    int r = spy_profile_string(a->into, name->at, name->len, &text);
    return r < 0 ? r : spy_profile_thread(a->into, tid, text, ret);
}

// The numbers that the window's stacks and threads have in the answer; 0 is the root, or not known.
static int number_names(struct answer *a, struct spy_click_window *w)
{
    bool is_new;
    int r = spy_grow(&a->numbers, &a->numbers_cap, w->n_stacks + w->n_threads + 1,
                     sizeof *a->numbers, SIZE_MAX / 64);
    for (size_t i = 0; i < w->n_stacks && r == 0; i++) {
        r = spy_idset_add(&a->stacks, w->stacks + i * SPY_ID, &a->numbers[i], &is_new);
        a->numbers[i] += r == 0;
    }
    for (size_t i = 0; i < w->n_threads && r == 0; i++) {
        struct spy_click_text name = spy_click_next_text(&w->names);
        r = add_window_thread(a, spy_rowbin_element(w->tids, i, 8), &name,
                              &a->numbers[w->n_stacks + i]);
    }
    return r;
}

static int unite_samples(struct answer *a, struct spy_click_window *w, uint32_t series,
                         struct spy_err *err)
{
    int r = number_names(a, w);
    if (r < 0)
        return fail_adding(r, err);
    for (size_t i = 0; i < w->n_rows && r == 0; i++) {
        struct spy_sample s;
        if (!spy_click_row(w, i, &s))
            return fail_adding(SPY_ERR_IO, err);
        struct sum sum = {.series = series,
                          .stack = s.stack ? a->numbers[s.stack - 1] : 0,
                          .thread = s.thread ? a->numbers[w->n_stacks + s.thread - 1] : 0,
                          .state = s.state,
                          .count = s.count,
                          .ns = s.ns};
        r = add_sum(a, &sum);
        if (r < 0)
            return fail_adding(r, err);
        r = hold_bounds(a, err);
    }
    return r;
}

static int add_seen_window(struct answer *a, const struct spy_click_window *w, uint32_t *ret_series)
{
    bool is_new;
    uint32_t day = w->level ? spy_click_bucket_day((int)w->level, w->bucket)
                            : spy_click_window_day(w->window.start_ns, w->end_ns);
    int r = spy_idset_add(&a->series, w->series, ret_series, &is_new);
    if (r == 0)
        r = spy_grow(&a->windows, &a->windows_cap, a->n_windows + 1, sizeof *a->windows,
                     SPY_STORE_ROWS_MAX * 2);
    if (r < 0)
        return r;
    a->windows[a->n_windows++] = (struct seen_window){*ret_series, w->window};
    a->day_first = day < a->day_first ? day : a->day_first;
    a->day_last = day >= a->day_last ? day + 1 : a->day_last; // version 1: what ends at midnight
    return 0;
}

static int add_window_row(void *arg, struct spy_click_window *w, struct spy_err *err)
{
    struct answer *a = arg;
    uint32_t series;
    int r = hold_bounds(a, err);
    if (r < 0)
        return r;
    r = add_seen_window(a, w, &series);
    return r < 0 ? fail_adding(r, err) : unite_samples(a, w, series, err);
}

static int read_windows(struct answer *a, struct spy_err *err)
{
    struct spy_click_picked picked = {0};
    int r = spy_click_pick_series(a->s, a->select, &picked, err);
    a->reading = (struct spy_click_reading){.s = a->s,
                                            .select = a->select,
                                            .picked = &picked,
                                            .columns = SPY_CLICK_ALL_COLUMNS,
                                            .holds_rows = true,
                                            .fn = add_window_row,
                                            .arg = a};
    if (r == 0 && (picked.is_all || picked.rows.len))
        r = spy_click_read(&a->reading, err);
    spy_click_picked_free(&picked);
    return r;
}

// --- what they name ---

// in_order: by id, so that series and functions have the same order in the answer whoever asks.
static int read_named(struct answer *a, const char *columns_from, const struct spy_idset *ids,
                      bool in_order, spy_click_row_fn row, struct spy_err *err)
{
    char sql[256];
    struct spy_buf rows = {.data = (uint8_t *)ids->ids, .len = (size_t)ids->n * SPY_ID};
    if (!ids->n)
        return 0;
    snprintf(sql, sizeof sql,
             "SELECT id, %s WHERE day >= %u AND day <= %u AND id IN (SELECT id FROM picked)%s "
             "FORMAT RowBinary",
             columns_from, a->day_first, a->day_last, in_order ? " ORDER BY id" : "");
    return spy_click_call(a->s->link,
                          &(struct spy_click_call){.sql = sql,
                                                   .picked = &rows,
                                                   .structure = "id FixedString(16)",
                                                   .row = row,
                                                   .arg = a,
                                                   .stop = a->select->stop,
                                                   .secs = QUERY_SECS},
                          err);
}

static uint32_t *make_numbers(uint32_t n)
{
    uint32_t *numbers = malloc(((size_t)n + 1) * sizeof *numbers);
    if (numbers)
        memset(numbers, 0xff, ((size_t)n + 1) * sizeof *numbers);
    return numbers;
}

static int add_series_row(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    struct answer *a = arg;
    struct spy_click_labels l;
    struct spy_label labels[SPY_LABELS_MAX];
    const uint8_t *id = spy_rowbin_bytes(r, SPY_ID);
    int result = spy_click_read_labels(r, &l, err);
    uint32_t at = result == 0 ? spy_idset_find(&a->series, id) : NONE;
    if (at == NONE || a->series_in[at] != NONE)
        return result;
    for (size_t i = 0; i < l.n && result == 0; i++) {
        result = spy_profile_string(a->into, l.keys[i].at, l.keys[i].len, &labels[i].key);
        if (result == 0)
            result = spy_profile_string(a->into, l.values[i].at, l.values[i].len, &labels[i].value);
    }
    if (result == 0)
        result = spy_profile_series(a->into, labels, l.n, &a->series_in[at]);
    return result < 0 ? fail_adding(result, err) : 0;
}

static int add_stack_row(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    struct answer *a = arg;
    const uint8_t *id = spy_rowbin_bytes(r, SPY_ID);
    size_t n = spy_rowbin_length(r, SPY_ID);
    const uint8_t *frames = spy_rowbin_bytes(r, n * SPY_ID);
    int result = spy_click_end_row(r, err);
    uint32_t at = result == 0 ? spy_idset_find(&a->stacks, id) : NONE;
    if (at == NONE || a->paths[at].n)
        return result;
    bool is_new;
    result =
        spy_grow(&a->steps, &a->steps_cap, a->n_steps + n + 1, sizeof *a->steps, SIZE_MAX / 64);
    a->paths[at] = (struct path){a->n_steps, (uint32_t)n};
    for (size_t i = 0; i < n && result == 0; i++)
        result = spy_idset_add(&a->frames, frames + i * SPY_ID, &a->steps[a->n_steps + i], &is_new);
    if (result < 0)
        return fail_adding(result, err);
    a->n_steps += n;
    return hold_bounds(a, err);
}

static int intern_named_frame(struct answer *a, const struct spy_click_text *name,
                              const struct spy_click_text *file, struct spy_function f,
                              uint32_t line, uint32_t *ret)
{
    uint32_t function;
    int r = spy_profile_string(a->into, name->at, name->len, &f.name);
    if (r == 0)
        r = spy_profile_string(a->into, file->at, file->len, &f.filename);
    if (r == 0)
        r = spy_profile_function(a->into, &f, &function);
    return r < 0 ? r : spy_profile_frame(a->into, (struct spy_frame){function, line}, ret);
}

static int add_frame_row(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    struct answer *a = arg;
    const uint8_t *id = spy_rowbin_bytes(r, SPY_ID);
    struct spy_click_text name = spy_click_next_text(r), file = spy_click_next_text(r);
    struct spy_function f = {.start_line = (uint32_t)spy_rowbin_number(r, 4)};
    f.kind = (uint32_t)spy_rowbin_number(r, 1);
    uint32_t line = (uint32_t)spy_rowbin_number(r, 4);
    int result = spy_click_end_row(r, err);
    uint32_t at = result == 0 ? spy_idset_find(&a->frames, id) : NONE;
    if (at == NONE || a->frames_in[at] != NONE)
        return result;
    result = intern_named_frame(a, &name, &file, f, line, &a->frames_in[at]);
    return result < 0 ? fail_adding(result, err) : hold_bounds(a, err);
}

static int read_all_named(struct answer *a, struct spy_err *err)
{
    a->series_in = make_numbers(a->series.n);
    a->stacks_in = make_numbers(a->stacks.n);
    a->paths = calloc((size_t)a->stacks.n + 1, sizeof *a->paths);
    if (!a->series_in || !a->stacks_in || !a->paths)
        return spy_err_nomem(err);
    int r = read_named(a, "keys, values FROM series", &a->series, true, add_series_row, err);
    if (r == 0)
        r = read_named(a, "frames FROM stacks", &a->stacks, false, add_stack_row, err);
    a->frames_in = make_numbers(a->frames.n);
    if (r == 0 && !a->frames_in)
        return spy_err_nomem(err);
    return r < 0 ? r
                 : read_named(a, "name, filename, start_line, kind, line FROM frames", &a->frames,
                              true, add_frame_row, err);
}

// --- the profile ---

static int add_missing(struct answer *a, const char *what, uint32_t *ret)
{
    struct spy_click_text name = {what, strlen(what)}, file = {"", 0};
    return intern_named_frame(a, &name, &file, (struct spy_function){.kind = SPY_FRAME_MARKER}, 0,
                              ret);
}

static int build_stack(struct answer *a, uint32_t stack)
{
    const struct path *path = &a->paths[stack];
    uint32_t at = 0, frame;
    int r = 0;
    if (!path->n) {
        r = add_missing(a, "[stack missing in the store]", &frame);
        if (r == 0)
            r = spy_profile_stack(a->into, 0, frame, &at);
    }
    for (uint32_t i = 0; i < path->n && r == 0; i++) {
        frame = a->frames_in[a->steps[path->first + i]];
        if (frame == NONE)
            r = add_missing(a, "[frame missing in the store]", &frame);
        if (r == 0)
            r = spy_profile_stack(a->into, at, frame, &at);
    }
    a->stacks_in[stack] = at;
    return r;
}

static int compare_windows(const void *a, const void *b)
{
    const struct spy_series *x = &((const struct seen_window *)a)->window,
                            *y = &((const struct seen_window *)b)->window;
    uint64_t ex = x->start_ns + x->duration_ns, ey = y->start_ns + y->duration_ns;
    return ex != ey ? (ex < ey ? -1 : 1) : memcmp(x->profile_id, y->profile_id, SPY_ID);
}

int spy_click_missing_series(struct spy_profile *into, const uint8_t id[SPY_ID], uint32_t *ret)
{
    char text[2 * SPY_ID + 1];
    struct spy_label label;
    for (size_t i = 0; i < SPY_ID; i++)
        snprintf(text + 2 * i, 3, "%02x", id[i]);
    int r = spy_profile_cstr(into, "podspy.missing.series", &label.key);
    if (r == 0)
        r = spy_profile_cstr(into, text, &label.value);
    return r < 0 ? r : spy_profile_series(into, &label, 1, ret);
}

static int unite_windows(struct answer *a)
{
    int r = 0;
    if (a->n_windows)
        qsort(a->windows, a->n_windows, sizeof *a->windows, compare_windows);
    for (uint32_t i = 0; i < a->series.n && r == 0; i++)
        if (a->series_in[i] == NONE)
            r = spy_click_missing_series(a->into, a->series.ids[i], &a->series_in[i]);
    for (size_t i = 0; i < a->n_windows && r == 0; i++)
        spy_series_unite(spy_profile_series_at(a->into, a->series_in[a->windows[i].series]),
                         &a->windows[i].window);
    return r;
}

static int build_profile(struct answer *a, struct spy_err *err)
{
    int r = unite_windows(a);
    for (size_t i = 0; i < a->n_sums && r == 0; i++) {
        const struct sum *s = &a->sums[i];
        uint32_t stack = 0;
        if (s->stack && a->stacks_in[s->stack - 1] == NONE)
            r = build_stack(a, s->stack - 1);
        if (s->stack)
            stack = a->stacks_in[s->stack - 1];
        if (r == 0)
            r = spy_profile_add(a->into, a->series_in[s->series], stack, s->thread, s->state,
                                s->count, s->ns);
        if (r == 0 && (r = hold_bounds(a, err)) < 0)
            return r;
    }
    return r < 0 ? fail_adding(r, err) : 0;
}

static int query_once(struct spy_click *s, const struct spy_select *select,
                      struct spy_profile *into, bool *ret_again, struct spy_err *err)
{
    struct answer a = {.s = s, .into = into, .select = select, .day_first = UINT16_MAX};
    int r = read_windows(&a, err);
    *ret_again = r == SPY_ERR_AGAIN;
    if (r == 0)
        r = read_all_named(&a, err);
    if (r == 0)
        r = build_profile(&a, err);
    answer_free(&a);
    return r;
}

// Nothing but names and threads is in `into` before all windows were read.
int spy_click_query(struct spy_store *store, const struct spy_select *select,
                    struct spy_profile *into, struct spy_err *err)
{
    struct spy_click *s = (struct spy_click *)store;
    bool again = true;
    int r = spy_click_prepare(s, err);
    for (int i = 0; i < SPY_CLICK_READS && r == 0 && again; i++) {
        r = query_once(s, select, into, &again, err);
        if (again && i + 1 < SPY_CLICK_READS)
            r = 0;
    }
    return r;
}
