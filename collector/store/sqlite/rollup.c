// rollup.c - windows into minutes and hours.
//
// A part takes the next windows by id, sums them by series and minute, and adds each sum to the
// minute's and the hour's roll-up, all in one transaction.
#include "collector/store/sqlite/levels.h"
#include "collector/store/sqlite/rows.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

enum { PART_WINDOWS = 1024, PART_SAMPLES = 1 << 18, ROLLUP_ROWS = 1 << 18 };
enum { DATA_MAX = 256 << 20, SUMS_MAX = 1024 };

struct rolled {
    int64_t series, bucket; // of the minute, or of the hour
    struct spy_sums sums;
    size_t first, n; // its samples, in part.rows
};

struct part {
    sqlite3 *db;
    struct spy_err *err;
    struct rolled *windows;
    size_t n, cap;
    struct spy_row *rows;
    size_t n_rows, rows_cap;
    int64_t last; // window
    sqlite3_stmt *find, *replace, *add;
};

static void part_done(struct part *p)
{
    sqlite3_finalize(p->find);
    sqlite3_finalize(p->replace);
    sqlite3_finalize(p->add);
    free(p->windows);
    free(p->rows);
}

static int take_rows(struct part *p, const uint8_t *data, size_t len, uint64_t period_ns)
{
    struct spy_rows_reader reader = {
        .at = data, .end = data ? data + len : NULL, .period_ns = period_ns};
    struct spy_row row;
    int more;
    while ((more = spy_rows_next(&reader, &row)) > 0) {
        if (spy_grow(&p->rows, &p->rows_cap, p->n_rows + 1, sizeof *p->rows, SIZE_MAX / 64) < 0)
            return spy_err_nomem(p->err);
        p->rows[p->n_rows++] = row;
    }
    return more < 0 ? spy_db_damaged(p->db, p->err, "samples cannot be read") : 0;
}

static int take_window(struct part *p, sqlite3_stmt *windows, sqlite3_stmt *borrowed)
{
    static const struct spy_source source = {.level = SPY_LEVEL_WINDOWS};
    _cleanup_reset_ sqlite3_stmt *samples = borrowed;
    struct spy_source_row row;
    int r = spy_source_read(p->db, windows, &source, &row, p->err);
    if (r == 0 && spy_grow(&p->windows, &p->cap, p->n + 1, sizeof *p->windows, SIZE_MAX / 512) < 0)
        r = spy_err_nomem(p->err);
    if (r < 0)
        return r;
    const struct spy_series *w = &row.sums.series;
    int64_t start = (int64_t)w->start_ns, end = (int64_t)(w->start_ns + w->duration_ns);
    struct rolled *to = &p->windows[p->n];
    *to = (struct rolled){.series = row.series,
                          .bucket = spy_level_bucket(SPY_LEVEL_MINUTES, start, end),
                          .sums = row.sums,
                          .first = p->n_rows};
    p->last = row.window;
    sqlite3_bind_int64(samples, 1, row.window);
    int code = row.rows ? sqlite3_step(samples) : SQLITE_DONE;
    if (code == SQLITE_ROW)
        r = take_rows(p, sqlite3_column_blob(samples, 0), (size_t)sqlite3_column_bytes(samples, 0),
                      w->period_ns);
    else if (code != SQLITE_DONE)
        r = spy_db_failed(p->db, p->err, "reading");
    else if (row.rows)
        r = spy_db_damaged(p->db, p->err, "a window's samples are missing");
    to->n = p->n_rows - to->first;
    p->n++;
    return r;
}

static int take_windows(struct part *p)
{
    _cleanup_stmt_ sqlite3_stmt *windows = NULL, *samples = NULL;
    static const struct spy_source source = {
        .level = SPY_LEVEL_WINDOWS,
        .where = " AND w.id > (SELECT done FROM levels WHERE level = 0)"};
    const struct spy_select all = {.until_ns = UINT64_MAX};
    int code = SQLITE_DONE;
    int r = spy_source_select(p->db, &source, &all, " ORDER BY w.id", &windows, p->err);
    if (r == 0)
        r = spy_db_prepare(p->db, "SELECT data FROM samples WHERE window = ?", &samples, p->err);
    while (r == 0 && p->n < PART_WINDOWS && p->n_rows < PART_SAMPLES &&
           (code = sqlite3_step(windows)) == SQLITE_ROW)
        r = take_window(p, windows, samples);
    return r == 0 && code != SQLITE_DONE && code != SQLITE_ROW
               ? spy_db_failed(p->db, p->err, "reading")
               : r;
}

static int compare_rolled(const void *a, const void *b)
{
    const struct rolled *x = a, *y = b;
    if (x->series != y->series)
        return x->series < y->series ? -1 : 1;
    if (x->bucket != y->bucket)
        return x->bucket < y->bucket ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first; // in the order they came
}

// The sum of windows[from, to), with its samples behind all others.
static int sum_up(struct part *p, size_t from, size_t to, struct rolled *ret)
{
    struct rolled sum = p->windows[from];
    sum.first = p->n_rows;
    sum.n = 0;
    for (size_t i = from; i < to; i++) {
        const struct rolled *w = &p->windows[i];
        if (i > from)
            spy_sums_add(&sum.sums, &w->sums);
        if (spy_grow(&p->rows, &p->rows_cap, p->n_rows + w->n, sizeof *p->rows, SIZE_MAX / 64) < 0)
            return spy_err_nomem(p->err);
        memcpy(p->rows + p->n_rows, p->rows + w->first, w->n * sizeof *p->rows);
        p->n_rows += w->n;
    }
    sum.n = spy_rows_merge(p->rows + sum.first, p->n_rows - sum.first);
    p->n_rows = sum.first + sum.n;
    *ret = sum;
    return 0;
}

static int write_rollup(struct part *p, sqlite3_stmt *q, const struct rolled *sum)
{
    _cleanup_buf_ struct spy_buf data = SPY_BUF_INIT(DATA_MAX), sums = SPY_BUF_INIT(SUMS_MAX);
    const struct spy_series *w = &sum->sums.series;
    spy_sums_encode(&sum->sums, &sums);
    spy_rows_encode(p->rows + sum->first, sum->n, w->period_ns, &data);
    if (sums.failed || data.failed)
        return spy_err_set(p->err, SPY_ERR_NOMEM, 0, "a roll-up does not fit in memory");
    sqlite3_bind_int64(q, 5, spy_db_time(w->start_ns));
    sqlite3_bind_int64(q, 6, spy_db_time(spy_add_sat(w->start_ns, w->duration_ns)));
    sqlite3_bind_int64(q, 7, (int64_t)sum->n);
    sqlite3_bind_blob64(q, 8, sums.data, sums.len, SQLITE_STATIC);
    sqlite3_bind_blob64(q, 9, data.data ? data.data : (const uint8_t *)"", data.len, SQLITE_STATIC);
    int r = spy_db_run(p->db, q, p->err);
    sqlite3_clear_bindings(q);
    return r;
}

// Adds the latest part that the roll-up has to the sum. *ret_part: where the sum is to be written;
// *ret_id: the row that it replaces, 0: none.
static int add_stored(struct part *p, int level, struct rolled *sum, int64_t *ret_part,
                      int64_t *ret_id)
{
    _cleanup_reset_ sqlite3_stmt *q = p->find;
    struct spy_sums stored;
    sqlite3_bind_int64(q, 1, level);
    sqlite3_bind_int64(q, 2, sum->series);
    sqlite3_bind_int64(q, 3, sum->bucket);
    int code = sqlite3_step(q);
    if (code == SQLITE_DONE)
        return 0;
    if (code != SQLITE_ROW)
        return spy_db_failed(p->db, p->err, "reading");
    *ret_part = sqlite3_column_int64(q, 1);
    if (sqlite3_column_int64(q, 2) + (int64_t)sum->n > ROLLUP_ROWS) {
        ++*ret_part;
        return 0;
    }
    *ret_id = sqlite3_column_int64(q, 0);
    if (spy_sums_decode(sqlite3_column_blob(q, 3), (size_t)sqlite3_column_bytes(q, 3), &stored) < 0)
        return spy_db_damaged(p->db, p->err, "a roll-up's sums cannot be read");
    int r = take_rows(p, sqlite3_column_blob(q, 4), (size_t)sqlite3_column_bytes(q, 4),
                      stored.series.period_ns);
    spy_sums_add(&stored, &sum->sums);
    sum->sums = stored;
    sum->n = spy_rows_merge(p->rows + sum->first, p->n_rows - sum->first);
    return r;
}

static int add_to_level(struct part *p, int level, struct rolled *sum)
{
    int64_t part = 0, id = 0;
    int r = add_stored(p, level, sum, &part, &id);
    if (r < 0)
        return r;
    sqlite3_stmt *q = id ? p->replace : p->add;
    sqlite3_bind_int64(q, 1, id ? id : level);
    if (!id) {
        sqlite3_bind_int64(q, 2, sum->series);
        sqlite3_bind_int64(q, 3, sum->bucket);
        sqlite3_bind_int64(q, 4, part);
    }
    return write_rollup(p, q, sum);
}

// windows[from, to) are those of a series and hour.
static int add_hour(struct part *p, size_t from, size_t to)
{
    struct rolled hour;
    int r = 0;
    size_t rows = p->n_rows;
    for (size_t i = from, end; i < to && r == 0; i = end) {
        struct rolled minute;
        for (end = i + 1; end < to && p->windows[end].bucket == p->windows[i].bucket;)
            end++;
        r = sum_up(p, i, end, &minute);
        if (r == 0)
            r = add_to_level(p, SPY_LEVEL_MINUTES, &minute);
        p->n_rows = rows;
    }
    if (r == 0)
        r = sum_up(p, from, to, &hour);
    if (r < 0)
        return r;
    hour.bucket /= 60;
    r = add_to_level(p, SPY_LEVEL_HOURS, &hour);
    p->n_rows = rows;
    return r;
}

static int add_windows_to_levels(struct part *p)
{
    int r = 0;
    qsort(p->windows, p->n, sizeof *p->windows, compare_rolled);
    for (size_t i = 0, end; i < p->n && r == 0; i = end) {
        for (end = i + 1; end < p->n && p->windows[end].series == p->windows[i].series &&
                          p->windows[end].bucket / 60 == p->windows[i].bucket / 60;)
            end++;
        r = add_hour(p, i, end);
    }
    return r;
}

static int note_done(struct part *p)
{
    _cleanup_stmt_ sqlite3_stmt *q = NULL;
    int r = spy_db_prepare(p->db, "UPDATE levels SET done = ? WHERE level = 0", &q, p->err);
    if (r < 0)
        return r;
    sqlite3_bind_int64(q, 1, p->last);
    return spy_db_run(p->db, q, p->err);
}

static int prepare_part(struct part *p)
{
    enum { FIRST_ROWS = 4096 };
    int r = spy_grow(&p->rows, &p->rows_cap, FIRST_ROWS, sizeof *p->rows, SIZE_MAX / 64);
    if (r < 0)
        return spy_err_nomem(p->err);
    r = spy_db_prepare(p->db,
                       "SELECT id, part, rows, sums, data FROM rollups WHERE level = ?"
                       " AND series = ? AND bucket = ? ORDER BY part DESC LIMIT 1",
                       &p->find, p->err);
    if (r == 0)
        r = spy_db_prepare(p->db,
                           "UPDATE rollups SET start_ns = ?5, end_ns = ?6, rows = ?7, sums = ?8,"
                           " data = ?9 WHERE id = ?1",
                           &p->replace, p->err);
    if (r == 0)
        r = spy_db_prepare(
            p->db,
            "INSERT INTO rollups(level, series, bucket, part, start_ns, end_ns, rows,"
            " sums, data) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            &p->add, p->err);
    return r;
}

// *ret_n: how many windows it took.
static int roll_up_part(struct spy_sqlite *s, size_t *ret_n, struct spy_err *err)
{
    _cleanup_(part_done) struct part p = {.db = s->writer, .err = err};
    int r = spy_db_exec(p.db, "BEGIN IMMEDIATE", err);
    if (r < 0)
        return r;
    r = prepare_part(&p);
    if (r == 0)
        r = take_windows(&p);
    if (r == 0 && p.n)
        r = add_windows_to_levels(&p);
    if (r == 0 && p.n)
        r = note_done(&p);
    if (r == 0)
        r = spy_db_exec(p.db, "COMMIT", err);
    if (r < 0 && !sqlite3_get_autocommit(p.db))
        spy_db_exec(p.db, "ROLLBACK", NULL);
    *ret_n = p.n;
    return r;
}

int spy_sqlite_roll_up(struct spy_sqlite *s, struct spy_err *err)
{
    size_t n = 1;
    int r = 0;
    while (r == 0 && n) {
        r = roll_up_part(s, &n, err);
        spy_sqlite_bound_wal(s);
        pthread_mutex_unlock(&s->write_lock); // appenders wait for one part, not for all
        pthread_mutex_lock(&s->write_lock);
    }
    return r;
}
