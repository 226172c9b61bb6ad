// windows.c - lists the selected windows and roll-ups with the sums of their samples by state. Stacks
// are not read.
#include "collector/store/sqlite/idmap.h"
#include "collector/store/sqlite/levels.h"
#include "collector/store/sqlite/rows.h"
#include "collector/store/sqlite/sqlite.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include <string.h>

enum { ROLLED_MINUTES = 5 }; // in shorter steps, roll-ups would stand for few windows

struct window_listing {
    sqlite3 *db;
    const struct spy_select *select;
    struct spy_profile *into;
    struct spy_err *err;
    const bool *hurry;
    spy_store_window_fn fn;
    void *arg;
    uint64_t n_rows; // windows and samples that were read
    sqlite3_stmt *labels, *samples;
    struct spy_idmap series;
    struct spy_store_sum sums[SPY_STATE_ALL + 1];
};

static void window_listing_done(struct window_listing *l)
{
    sqlite3_finalize(l->labels);
    sqlite3_finalize(l->samples);
    spy_idmap_free(&l->series);
}

static int fail_listing(struct window_listing *l, int r)
{
    return spy_err_set(l->err, r, 0,
                       r == SPY_ERR_LIMIT   ? "the answer is too large: narrow the selection"
                       : r == SPY_ERR_NOMEM ? "out of memory"
                                            : "the store holds an invalid value");
}

static int intern_label_column(struct window_listing *l, int column, uint32_t *ret)
{
    const char *text = (const char *)sqlite3_column_text(l->labels, column);
    size_t len = (size_t)sqlite3_column_bytes(l->labels, column);
    return text ? spy_profile_string(l->into, text, len, ret) : SPY_ERR_NOMEM;
}

static int list_labelled_series(struct window_listing *l, int64_t id, uint32_t *ret)
{
    const uint64_t key[3] = {(uint64_t)id, 0, 0};
    const struct spy_idmap_entry *known = spy_idmap_find(&l->series, key);
    struct spy_label labels[SPY_LABELS_MAX];
    size_t n = 0;
    int code = SQLITE_DONE, r = 0;
    if (known) {
        *ret = (uint32_t)known->id;
        return 0;
    }
    _cleanup_reset_ sqlite3_stmt *q = l->labels;
    sqlite3_bind_int64(q, 1, id);
    while (r == 0 && n < SPY_LABELS_MAX && (code = sqlite3_step(q)) == SQLITE_ROW) {
        r = intern_label_column(l, 0, &labels[n].key);
        if (r == 0)
            r = intern_label_column(l, 1, &labels[n].value);
        n++;
    }
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return spy_db_failed(l->db, l->err, "reading");
    if (r == 0)
        r = spy_profile_series(l->into, labels, n, ret);
    if (r == 0)
        r = spy_idmap_add(&l->series, key, *ret, 0);
    return r < 0 ? fail_listing(l, r) : 0;
}

static int sum_samples(struct window_listing *l, const uint8_t *data, size_t len,
                       uint64_t period_ns)
{
    struct spy_rows_reader reader = {
        .at = data, .end = data ? data + len : NULL, .period_ns = period_ns};
    struct spy_row row;
    int more;
    while ((more = spy_rows_next(&reader, &row)) > 0) {
        struct spy_store_sum *sum = &l->sums[row.state];
        sum->count = spy_add_sat(sum->count, row.count);
        sum->ns = spy_add_sat(sum->ns, row.ns);
    }
    return more < 0 ? spy_db_damaged(l->db, l->err, "samples cannot be read") : 0;
}

static int sum_window_samples(struct window_listing *l, const struct spy_source_row *row)
{
    _cleanup_reset_ sqlite3_stmt *q = l->samples;
    sqlite3_bind_int64(q, 1, row->window);
    int code = sqlite3_step(q);
    if (code == SQLITE_DONE)
        return spy_db_damaged(l->db, l->err, "a row is missing");
    if (code != SQLITE_ROW)
        return spy_db_failed(l->db, l->err, "reading");
    return sum_samples(l, sqlite3_column_blob(q, 0), (size_t)sqlite3_column_bytes(q, 0),
                       row->sums.series.period_ns);
}

static int hold_listing_bounds(struct window_listing *l, const struct spy_source_row *row)
{
    const struct spy_select *s = l->select;
    uint64_t max = s->rows_max ? s->rows_max : SPY_STORE_ROWS_MAX;
    l->n_rows = spy_add_sat(l->n_rows, 1 + (uint64_t)(row->rows > 0 ? row->rows : 0));
    if (spy_stop_is_set(s->stop))
        return spy_err_set(l->err, SPY_ERR_GONE, 0, "the client has gone");
    if (spy_stop_is_set(l->hurry))
        return spy_err_set(l->err, SPY_ERR_AGAIN, 0,
                           "the store interrupted the query to restart its WAL");
    if (l->n_rows > max)
        return spy_err_set(l->err, SPY_ERR_LIMIT, 0,
                           "more than %llu samples are selected: narrow the time or the labels",
                           (unsigned long long)max);
    size_t memory = spy_profile_memory(l->into) + spy_idmap_memory(&l->series);
    return s->memory && memory > s->memory ? fail_listing(l, SPY_ERR_LIMIT) : 0;
}

static int list_source_row(struct window_listing *l, const struct spy_source *source,
                           sqlite3_stmt *q)
{
    struct spy_source_row row;
    struct spy_store_window window = {.window = &row.sums.series, .sums = l->sums};
    int r = spy_source_read(l->db, q, source, &row, l->err);
    if (r == 0)
        r = hold_listing_bounds(l, &row);
    if (r == 0)
        r = list_labelled_series(l, row.series, &window.series);
    if (r < 0)
        return r;
    memset(l->sums, 0, sizeof l->sums);
    if (row.rows)
        r = row.window ? sum_window_samples(l, &row)
                       : sum_samples(l, row.data, row.len, row.sums.series.period_ns);
    window.windows = row.sums.windows;
    return r < 0 ? r : l->fn(l->arg, &window, l->err);
}

static int list_source(struct window_listing *l, const struct spy_source *source)
{
    _cleanup_stmt_ sqlite3_stmt *q = NULL;
    struct spy_select select = *l->select;
    int code = SQLITE_DONE;
    if ((uint64_t)source->from_ns > select.from_ns)
        select.from_ns = (uint64_t)source->from_ns;
    int r = spy_source_select(l->db, source, &select, "", &q, l->err);
    while (r == 0 && (code = sqlite3_step(q)) == SQLITE_ROW)
        r = list_source_row(l, source, q);
    return r == 0 && code != SQLITE_DONE ? spy_db_failed(l->db, l->err, "reading") : r;
}

static int list_part(struct window_listing *l, const struct spy_level_state *state,
                     struct spy_plan_part *part)
{
    struct spy_plan plan;
    int r = 0;
    spy_plan_step(state, part, &plan);
    for (size_t i = 0; i < plan.n && r == 0; i++)
        r = list_source(l, &plan.sources[i]);
    return r;
}

static int list_windows(struct window_listing *l, uint64_t step_ns)
{
    struct spy_level_state state = {0};
    int64_t until = spy_db_time(l->select->until_ns), step = spy_db_time(step_ns);
    struct spy_plan_part part = {.from = spy_db_time(l->select->from_ns), .is_first = true};
    int r = spy_level_state_read(l->db, &state, l->err);
    if (r == 0)
        r = spy_db_prepare(l->db, "SELECT key, value FROM labels WHERE series=?", &l->labels,
                           l->err);
    if (r == 0)
        r = spy_db_prepare(l->db, "SELECT data FROM samples WHERE window=?", &l->samples, l->err);
    part.rolls_up = state.done && step >= ROLLED_MINUTES * spy_level_ns(SPY_LEVEL_MINUTES);
    for (; r == 0 && !part.is_last; part.from = part.until, part.is_first = false) {
        part.is_last = !part.rolls_up || part.from >= until - step;
        part.until = part.is_last ? until : part.from + step;
        r = list_part(l, &state, &part);
    }
    return r;
}

int spy_sqlite_windows(struct spy_store *store, const struct spy_select *select, uint64_t step_ns,
                       struct spy_profile *into, spy_store_window_fn fn, void *arg,
                       struct spy_err *err)
{
    struct spy_sqlite *s = (struct spy_sqlite *)store;
    struct spy_err mine = {0};
    sqlite3 *db = spy_sqlite_take_reader(s, &mine);
    struct window_listing l = {.db = db,
                               .select = select,
                               .into = into,
                               .err = &mine,
                               .hurry = &s->hurry,
                               .fn = fn,
                               .arg = arg};
    if (db)
        spy_sqlite_heed(s, db, select->stop);
    int r = db ? list_windows(&l, step_ns) : mine.code;
    window_listing_done(&l);
    if (db)
        spy_sqlite_give_reader(s, db);
    return spy_sqlite_end_read(select, r, &mine, err);
}
