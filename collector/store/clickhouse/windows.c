// windows.c - lists the selected windows with the sums of their samples by state. Labels are read
// first; stacks are not read.
#include "collector/store/clickhouse/levels.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOWS_SECS = 60, NOT_LISTED = UINT32_MAX, LABELS_MAX = 1 << 26 };

struct labelled { // a series
    size_t first; // in window_listing.labels
    size_t n;
    bool has_row;
    uint32_t in; // id of `into`; NOT_LISTED: none yet
};

struct window_listing {
    struct spy_click *s;
    const struct spy_select *select;
    struct spy_profile *into;
    spy_store_window_fn fn;
    void *arg;
    uint64_t n_rows; // windows and samples that were read
    struct spy_click_reading reading;
    struct spy_idset series;
    struct labelled *labelled; // by number of the series
    size_t labelled_cap;
    struct spy_label *labels;
    size_t n_labels, labels_cap;
    struct spy_store_sum sums[SPY_STATE_ALL + 1];
};

static void window_listing_free(struct window_listing *l)
{
    spy_click_reading_free(&l->reading);
    spy_idset_free(&l->series);
    free(l->labelled);
    free(l->labels);
}

static int fail_windows(int r, struct spy_err *err)
{
    return spy_err_set(err, r, 0,
                       r == SPY_ERR_LIMIT   ? "the answer is too large: narrow the selection"
                       : r == SPY_ERR_NOMEM ? "out of memory"
                                            : "ClickHouse holds an invalid value");
}

static int hold_window_bounds(struct window_listing *l, uint64_t rows, struct spy_err *err)
{
    const struct spy_select *s = l->select;
    uint64_t max = s->rows_max ? s->rows_max : SPY_STORE_ROWS_MAX;
    size_t memory = spy_profile_memory(l->into) + spy_click_reading_memory(&l->reading) +
                    spy_idset_memory(&l->series) + l->labelled_cap * sizeof *l->labelled +
                    l->labels_cap * sizeof *l->labels;
    l->n_rows = spy_add_sat(l->n_rows, rows);
    if (spy_stop_is_set(s->stop))
        return spy_err_set(err, SPY_ERR_GONE, 0, "the client has gone");
    if (l->n_rows > max)
        return spy_err_set(err, SPY_ERR_LIMIT, 0,
                           "more than %" PRIu64 " samples are selected: narrow the time or the "
                           "labels",
                           max);
    return s->memory && memory > s->memory ? fail_windows(SPY_ERR_LIMIT, err) : 0;
}

// --- labels ---

static int add_labelled(struct window_listing *l, const uint8_t id[SPY_ID], uint32_t *ret,
                        bool *ret_is_new)
{
    int r = spy_idset_add(&l->series, id, ret, ret_is_new);
    if (r == 0 && *ret_is_new)
        r = spy_grow(&l->labelled, &l->labelled_cap, l->series.n, sizeof *l->labelled, LABELS_MAX);
    if (r == 0 && *ret_is_new)
        l->labelled[*ret] = (struct labelled){.first = l->n_labels, .in = NOT_LISTED};
    return r;
}

static int add_series_labels(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    struct window_listing *l = arg;
    struct spy_click_labels labels;
    const uint8_t *id = spy_rowbin_bytes(r, SPY_ID);
    uint32_t at;
    bool is_new = false;
    int result = spy_click_read_labels(r, &labels, err);
    if (result < 0)
        return result;
    result = add_labelled(l, id, &at, &is_new);
    if (result == 0 && is_new)
        result = spy_grow(&l->labels, &l->labels_cap, l->n_labels + labels.n, sizeof *l->labels,
                          LABELS_MAX);
    if (result == 0)
        l->labelled[at].has_row = true;
    for (size_t i = 0; result == 0 && is_new && i < labels.n; i++) {
        struct spy_label *label = &l->labels[l->n_labels];
        result = spy_profile_string(l->into, labels.keys[i].at, labels.keys[i].len, &label->key);
        if (result == 0)
            result = spy_profile_string(l->into, labels.values[i].at, labels.values[i].len,
                                        &label->value);
        l->n_labels += result == 0;
        l->labelled[at].n += result == 0;
    }
    return result < 0 ? fail_windows(result, err) : hold_window_bounds(l, 0, err);
}

static int read_series_labels(struct window_listing *l, const struct spy_click_picked *picked,
                              struct spy_err *err)
{
    char sql[160];
    uint64_t from = spy_click_first_end(l->s, l->select);
    snprintf(
        sql, sizeof sql, "SELECT id, keys, values FROM series WHERE day >= %u%s FORMAT RowBinary",
        spy_click_window_day(0, from), picked->is_all ? "" : " AND id IN (SELECT id FROM picked)");
    return spy_click_call(l->s->link,
                          &(struct spy_click_call){.sql = sql,
                                                   .picked = picked->is_all ? NULL : &picked->rows,
                                                   .structure = "id FixedString(16)",
                                                   .row = add_series_labels,
                                                   .arg = l,
                                                   .stop = l->select->stop,
                                                   .secs = WINDOWS_SECS},
                          err);
}

// --- windows ---

static int list_window_series(struct window_listing *l, const uint8_t id[SPY_ID], uint32_t *ret)
{
    uint32_t at;
    bool is_new;
    int r = add_labelled(l, id, &at, &is_new);
    if (r == 0 && l->labelled[at].in == NOT_LISTED) {
        struct labelled *s = &l->labelled[at];
        const struct spy_label none = {0}, *labels = s->n ? l->labels + s->first : &none;
        r = s->has_row ? spy_profile_series(l->into, labels, s->n, &s->in)
                       : spy_click_missing_series(l->into, id, &s->in);
    }
    if (r == 0)
        *ret = l->labelled[at].in;
    return r;
}

static int sum_states(struct window_listing *l, const struct spy_click_window *w)
{
    memset(l->sums, 0, sizeof l->sums);
    for (size_t i = 0; i < w->n_rows; i++) {
        if (!spy_state_is_valid(w->state[i]))
            return SPY_ERR_IO;
        struct spy_store_sum *sum = &l->sums[w->state[i]];
        uint64_t count = spy_rowbin_element(w->count, i, 8);
        sum->count = spy_add_sat(sum->count, count);
        sum->ns =
            spy_add_sat(sum->ns, count * w->window.period_ns + spy_rowbin_element(w->extra, i, 8));
    }
    return 0;
}

static int list_window_row(void *arg, struct spy_click_window *w, struct spy_err *err)
{
    struct window_listing *l = arg;
    struct spy_store_window window = {.window = &w->window, .windows = w->windows, .sums = l->sums};
    int r = list_window_series(l, w->series, &window.series);
    if (r == 0)
        r = sum_states(l, w);
    if (r < 0)
        return fail_windows(r, err);
    r = hold_window_bounds(l, 1 + w->n_rows, err);
    return r < 0 ? r : l->fn(l->arg, &window, err);
}

static int list_picked(struct window_listing *l, const struct spy_click_picked *picked,
                       struct spy_err *err)
{
    int r = read_series_labels(l, picked, err);
    l->reading = (struct spy_click_reading){.s = l->s,
                                            .select = l->select,
                                            .picked = picked,
                                            .columns = SPY_CLICK_HEADS_AND_STATES,
                                            .only_dropped = true,
                                            .fn = list_window_row,
                                            .arg = l};
    return r < 0 ? r : spy_click_read(&l->reading, err);
}

// Steps can lie anywhere, so roll-ups stand for windows that were dropped and for no others.
int spy_click_windows(struct spy_store *store, const struct spy_select *select, uint64_t step_ns,
                      struct spy_profile *into, spy_store_window_fn fn, void *arg,
                      struct spy_err *err)
{
    struct window_listing l = {
        .s = (struct spy_click *)store, .select = select, .into = into, .fn = fn, .arg = arg};
    struct spy_click_picked picked = {0};
    (void)step_ns;
    int r = spy_click_prepare(l.s, err);
    if (r == 0)
        r = spy_click_pick_series(l.s, select, &picked, err);
    if (r == 0 && (picked.is_all || picked.rows.len))
        r = list_picked(&l, &picked, err);
    spy_click_picked_free(&picked);
    window_listing_free(&l);
    return r;
}
