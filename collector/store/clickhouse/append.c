// append.c - one insert for a group of batches. A batch is acknowledged once ClickHouse has
// acknowledged its windows, which are inserted after everything that they refer to.
#include "collector/store/batch.h"
#include "collector/store/clickhouse/levels.h"
#include "shared/base/mem.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_BYTES = 256 << 20 }; // of a table in one insert
enum { WRITTEN_ENTRY = 64 };     // bytes that an id in `written` takes

static const struct {
    const char *sql;
} inserts[SPY_CLICK_TABLES] = {
    [SPY_CLICK_SERIES] = {"INSERT INTO series (day, id, keys, values) FORMAT RowBinary"},
    [SPY_CLICK_FRAMES] = {"INSERT INTO frames (day, id, name, filename, start_line, kind, line) "
                          "FORMAT RowBinary"},
    [SPY_CLICK_STACKS] = {"INSERT INTO stacks (day, id, frames) FORMAT RowBinary"},
    [SPY_CLICK_WINDOWS] = {"INSERT INTO windows (day, " SPY_CLICK_HEAD ", " SPY_CLICK_THREADS
                           ", " SPY_CLICK_ROWS ") FORMAT RowBinary"},
    [SPY_CLICK_HOURS] = {SPY_CLICK_INSERT_ROLLED("hours")},
    [SPY_CLICK_MINUTES] = {SPY_CLICK_INSERT_ROLLED("minutes")},
};

struct group {
    struct spy_batch *first;
    struct spy_idset known, sent; // profile_ids that ClickHouse has; that are in these rows
    struct spy_click_rows rows;
    uint32_t day_first, day_last;
    struct spy_click_marks marks;
};

// --- what is known ---

static uint64_t get_start(const struct spy_profile *p)
{
    return spy_min(spy_profile_series_get(p, 0)->start_ns, SPY_CLICK_TIME_MAX);
}
static uint64_t get_end(const struct spy_profile *p)
{
    const struct spy_series *s = spy_profile_series_get(p, 0);
    return spy_min(spy_add_sat(s->start_ns, s->duration_ns), SPY_CLICK_TIME_MAX);
}
static uint32_t get_day(const struct spy_profile *p)
{
    return spy_click_window_day(get_start(p), get_end(p));
}

static int read_known_id(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    struct group *g = arg;
    const uint8_t *id = spy_rowbin_bytes(r, SPY_ID);
    uint32_t at;
    bool is_new;
    if (!id)
        return SPY_ERR_TORN;
    return spy_idset_add(&g->known, id, &at, &is_new) < 0 ? spy_err_nomem(err) : 0;
}

static int ask_known(struct spy_click *s, struct group *g, const char *sql,
                     const struct spy_buf *picked, const char *structure, struct spy_err *err)
{
    return picked->failed ? spy_err_nomem(err)
                          : spy_click_call(s->link,
                                           &(struct spy_click_call){.sql = sql,
                                                                    .picked = picked,
                                                                    .structure = structure,
                                                                    .row = read_known_id,
                                                                    .arg = g,
                                                                    .agreed = true},
                                           err);
}

// A window that was sent before has the same place in the order of the table, so looking it up reads
// little. A window that too few replicas have is not known: the insert says what becomes of it. Version
// 1 counted a window that ends at midnight to the next day.
static int find_known_windows(struct spy_click *s, struct group *g, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf rows = SPY_BUF_INIT(ROWS_BYTES);
    char sql[400];
    g->day_first = UINT16_MAX;
    for (const struct spy_batch *b = g->first; b; b = b->next)
        for (size_t i = 0; i < b->n && b->result == 0; i++) {
            uint32_t day = get_day(b->profiles[i]);
            g->day_first = day < g->day_first ? day : g->day_first;
            g->day_last = day > g->day_last ? day : g->day_last;
            spy_buf_append(&rows, spy_click_ids_series(b->prepared[i]), SPY_ID);
            spy_rowbin_put(&rows, get_end(b->profiles[i]), 8);
            spy_buf_append(&rows, spy_profile_series_get(b->profiles[i], 0)->profile_id, SPY_ID);
        }
    if (!rows.len && !rows.failed)
        return 0;
    snprintf(sql, sizeof sql,
             "SELECT profile_id FROM windows WHERE day >= %u AND day <= %u AND "
             "(series, end_ns, profile_id) IN (SELECT series, end_ns, profile_id FROM picked) "
             "FORMAT RowBinary",
             g->day_first, g->day_last + 1);
    return ask_known(s, g, sql, &rows,
                     "series FixedString(16), end_ns UInt64, profile_id FixedString(16)", err);
}

// Windows of closed days may be known by their minutes alone.
static int find_known_late(struct spy_click *s, struct group *g, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf rows = SPY_BUF_INIT(ROWS_BYTES);
    char sql[400];
    for (const struct spy_batch *b = g->first; b; b = b->next)
        for (size_t i = 0; i < b->n && b->result == 0; i++) {
            const struct spy_profile *p = b->profiles[i];
            if (get_day(p) >= g->marks.closed)
                continue;
            spy_buf_append(&rows, spy_click_ids_series(b->prepared[i]), SPY_ID);
            spy_rowbin_put(&rows, spy_click_bucket(SPY_CLICK_MINUTE, get_start(p), get_end(p)), 4);
        }
    if (!rows.len && !rows.failed)
        return 0;
    snprintf(sql, sizeof sql,
             "SELECT arrayJoin(ids) FROM minutes WHERE day >= %u AND day <= %u AND "
             "(series, bucket) IN (SELECT series, bucket FROM picked) FORMAT RowBinary",
             g->day_first, g->day_last);
    return ask_known(s, g, sql, &rows, "series FixedString(16), bucket UInt32", err);
}

// Where the minutes are gone, nothing says whether a window is known.
static void refuse_too_old(struct group *g, struct spy_batch *b)
{
    for (size_t i = 0; i < b->n && b->result == 0; i++)
        if (get_day(b->profiles[i]) < g->marks.minutes)
            b->result = spy_err_set(&b->err, SPY_ERR_INVALID, 0,
                                    "a profile is older than the sums by the minute that are "
                                    "kept (retention.minutes)");
}

static int find_known(struct spy_click *s, struct group *g, struct spy_err *err)
{
    int r = spy_click_rolls_up(s) ? spy_click_marks_get(s, &g->marks, err) : 0;
    for (struct spy_batch *b = g->first; b && r == 0; b = b->next)
        refuse_too_old(g, b);
    if (r == 0)
        r = find_known_windows(s, g, err);
    return r == 0 && g->day_first < g->marks.closed ? find_known_late(s, g, err) : r;
}

// --- the bound of series ---

static int count_series(struct spy_click *s, struct spy_err *err)
{
    if (s->knows_n_series)
        return 0;
    int r = spy_click_number(s->link, "SELECT toUInt64(uniqExact(id)) FROM series FORMAT RowBinary",
                             &s->n_series, err);
    s->knows_n_series = r == 0;
    return r;
}

static bool is_series_written(const struct spy_click *s, const struct spy_batch *b, size_t i)
{
    uint8_t of_day[SPY_ID];
    spy_click_ids_of_day(spy_click_ids_series(b->prepared[i]), get_day(b->profiles[i]), of_day);
    return spy_idset_find(&s->written, of_day) != SPY_MAP_NONE;
}

static int read_series_id(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    struct spy_idset *there = arg;
    const uint8_t *id = spy_rowbin_bytes(r, SPY_ID);
    uint32_t at;
    bool is_new;
    if (!id)
        return SPY_ERR_TORN;
    return spy_idset_add(there, id, &at, &is_new) < 0 ? spy_err_nomem(err) : 0;
}

// How many of the batch's series ClickHouse does not hold.
static int count_new_series(struct spy_click *s, const struct spy_batch *b, uint64_t *ret,
                            struct spy_err *err)
{
    struct spy_idset there = {0}, asked = {0};
    _cleanup_buf_ struct spy_buf rows = SPY_BUF_INIT(ROWS_BYTES);
    uint32_t at;
    bool is_new;
    int r = 0;
    for (size_t i = 0; i < b->n && r == 0; i++) {
        r = spy_idset_add(&asked, spy_click_ids_series(b->prepared[i]), &at, &is_new);
        if (is_new)
            spy_buf_append(&rows, spy_click_ids_series(b->prepared[i]), SPY_ID);
    }
    if (r < 0 || rows.failed)
        r = spy_err_nomem(err);
    if (r == 0)
        r = spy_click_call(
            s->link,
            &(struct spy_click_call){.sql = "SELECT DISTINCT id FROM series WHERE id IN "
                                            "(SELECT id FROM picked) FORMAT RowBinary",
                                     .picked = &rows,
                                     .structure = "id FixedString(16)",
                                     .row = read_series_id,
                                     .arg = &there},
            err);
    *ret = asked.n - there.n;
    spy_idset_free(&there);
    spy_idset_free(&asked);
    return r;
}

// Exact for the series of this collector; those that others add are noticed with the next expire.
static int hold_series_bound(struct spy_click *s, struct spy_batch *b, struct spy_err *err)
{
    uint64_t unknown = 0, added = 0;
    for (size_t i = 0; i < b->n; i++)
        unknown += !is_series_written(s, b, i);
    if (!unknown)
        return 0;
    int r = count_series(s, err);
    if (r == 0 && s->n_series + unknown > s->max_series) {
        s->knows_n_series = false; // it can be less by now
        r = count_series(s, err);
        if (r == 0)
            r = count_new_series(s, b, &added, err);
    } else {
        added = unknown;
    }
    if (r < 0)
        return r;
    if (added && s->n_series + added > s->max_series)
        b->result = spy_err_set(&b->err, SPY_ERR_LIMIT, 0,
                                "a profile is of a new series, and the store holds %" PRIu64
                                " of at most %u (limits.series)",
                                s->n_series, s->max_series);
    else
        s->n_series += added;
    return 0;
}

// --- writing a group ---

static int put_profile(struct spy_click *s, struct group *g, struct spy_batch *b, size_t i)
{
    const uint8_t *id = spy_profile_series_get(b->profiles[i], 0)->profile_id;
    uint32_t at;
    bool is_new, is_known = spy_idset_find(&g->known, id) != SPY_MAP_NONE;
    int r = is_known ? 0 : spy_idset_add(&g->sent, id, &at, &is_new);
    if (r < 0)
        return spy_err_nomem(&b->err);
    is_known = is_known || !is_new;
    b->known += is_known;
    if (b->is_known)
        b->is_known[i] = is_known;
    return is_known
               ? 0
               : spy_click_put_window(b->profiles[i], b->prepared[i], &s->written,
                                      get_day(b->profiles[i]) < g->marks.closed, &g->rows, &b->err);
}

// A batch that fails takes its rows back; rows in `sent` and `written` cannot be, so the group is made
// again without it.
static int put_batches(struct spy_click *s, struct group *g)
{
    for (struct spy_batch *b = g->first; b; b = b->next) {
        b->known = 0;
        for (size_t i = 0; i < b->n && b->result == 0; i++)
            b->result = put_profile(s, g, b, i);
        if (b->result < 0 && b->n) {
            b->n = 0;
            return SPY_ERR_AGAIN;
        }
    }
    return 0;
}

static void make_rows(struct spy_click *s, struct group *g)
{
    if (s->written.n > s->memory / 2 / WRITTEN_ENTRY)
        spy_idset_clear(&s->written);
    while (put_batches(s, g) < 0) {
        spy_idset_clear(&s->written);
        spy_idset_clear(&g->sent);
        for (int t = 0; t < SPY_CLICK_TABLES; t++)
            spy_buf_reset(&g->rows.of[t]);
    }
}

static int insert_rows(struct spy_click *s, struct group *g, struct spy_err *err)
{
    int r = 0;
    for (int t = 0; t < SPY_CLICK_TABLES && r == 0; t++)
        if (g->rows.of[t].len)
            r = spy_click_call(
                s->link, &(struct spy_click_call){.sql = inserts[t].sql, .rows = &g->rows.of[t]},
                err);
    return r;
}

static int write_all(struct spy_click *s, struct group *g, struct spy_err *err)
{
    int r = find_known(s, g, err);
    for (struct spy_batch *b = g->first; b && r == 0; b = b->next) {
        if (b->result == 0)
            r = hold_series_bound(s, b, err);
        b->n = b->result < 0 ? 0 : b->n;
    }
    if (r == 0) {
        make_rows(s, g);
        r = insert_rows(s, g, err);
    }
    if (r < 0) // nobody knows which of these rows are there
        spy_idset_clear(&s->written);
    if (r == SPY_ERR_NOTFOUND) // someone dropped the tables
        __atomic_store_n(&s->has_schema, false, __ATOMIC_RELEASE);
    return r;
}

static void write_batches(void *store, struct spy_batch *first)
{
    struct spy_click *s = store;
    struct group g = {.first = first};
    struct spy_err err = {0};
    for (int t = 0; t < SPY_CLICK_TABLES; t++)
        g.rows.of[t] = SPY_BUF_INIT(ROWS_BYTES);
    pthread_mutex_lock(&s->write_lock);
    int r = write_all(s, &g, &err);
    for (struct spy_batch *b = first; b && r < 0; b = b->next)
        if (b->result == 0) {
            b->result = r;
            b->err = err;
        }
    spy_batch_note(&s->queue, first);
    pthread_mutex_unlock(&s->write_lock);
    for (int t = 0; t < SPY_CLICK_TABLES; t++)
        spy_buf_free(&g.rows.of[t]);
    spy_idset_free(&g.known);
    spy_idset_free(&g.sent);
}

// The sums of ids are made here, on the appender's own thread.
static int make_ids(struct spy_batch *b, struct spy_err *err)
{
    int r = 0;
    b->prepared = calloc(b->n + 1, sizeof *b->prepared);
    if (!b->prepared)
        return spy_err_nomem(err);
    for (size_t i = 0; i < b->n && r == 0; i++) {
        r = spy_batch_check_profile(b->profiles[i], err);
        struct spy_click_ids *ids = NULL;
        if (r == 0)
            r = spy_click_ids_new(b->profiles[i], &ids, err);
        b->prepared[i] = ids;
        b->bytes += spy_profile_memory(b->profiles[i]);
    }
    return r;
}

int spy_click_append(struct spy_store *store, struct spy_profile *const *profiles, size_t n,
                     size_t *ret_known, bool *ret_is_known, struct spy_err *err)
{
    struct spy_click *s = (struct spy_click *)store;
    struct spy_batch b = {.profiles = profiles, .n = n, .is_known = ret_is_known};
    int r = spy_click_prepare(s, err);
    if (r == 0 && __atomic_load_n(&s->is_full, __ATOMIC_RELAXED))
        r = spy_err_set(err, SPY_ERR_LIMIT, 0,
                        "the store has reached retention.max_gib with the windows of one day");
    if (r == 0)
        r = make_ids(&b, err);
    if (r == 0)
        r = spy_batch_write(&s->queue, &b, write_batches, s, err);
    for (size_t i = 0; i < n && b.prepared; i++)
        spy_click_ids_free(b.prepared[i]);
    free(b.prepared);
    if (r == 0)
        *ret_known = b.known;
    return r;
}
