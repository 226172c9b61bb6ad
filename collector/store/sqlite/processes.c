// processes.c - lists the selected series, one process each.
#include "collector/store/sqlite/levels.h"
#include "collector/store/sqlite/rows.h"
#include "collector/store/sqlite/sqlite.h"
#include "shared/base/arena.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PROCESSES_MAX = 10000,
    LISTED_MAX = 1 << 26,
    THREADS_MAX = 4096,
    ARENA_BYTES = 4 << 20,
    DATA_MAX = 256 << 20,
};

struct listed {
    int64_t series, last_ns;
};

struct listing {
    sqlite3 *db;
    const struct spy_select *select;
    struct spy_err *err;
    struct spy_plan plan;
    sqlite3_stmt *rows[SPY_COUNT(((struct spy_plan *)0)->sources)]; // of one series, by source
    sqlite3_stmt *labels, *samples, *thread;
    struct listed *listed;
    size_t n, cap;
};

static void listing_done(struct listing *l)
{
    for (size_t i = 0; i < SPY_COUNT(l->rows); i++)
        sqlite3_finalize(l->rows[i]);
    sqlite3_finalize(l->labels);
    sqlite3_finalize(l->samples);
    sqlite3_finalize(l->thread);
    free(l->listed);
}

// Where the threads of the latest window or roll-up are.
struct latest {
    int64_t window; // 0: in data
    struct spy_buf data;
    bool is_found;
};

static int note_latest(struct listing *l, const struct spy_source_row *row, struct latest *to)
{
    to->is_found = true;
    to->window = row->window;
    spy_buf_reset(&to->data);
    return spy_buf_append(&to->data, row->data, row->len) < 0 ? spy_err_nomem(l->err) : 0;
}

static int add_listed_row(struct listing *l, const struct spy_source_row *row,
                          struct spy_store_process *p, struct latest *latest)
{
    const struct spy_series *w = &row->sums.series;
    uint64_t end = w->start_ns + w->duration_ns;
    bool is_latest = !latest->is_found || end >= p->last_ns;
    p->first_ns = !p->windows || w->start_ns < p->first_ns ? w->start_ns : p->first_ns;
    p->samples = spy_add_sat(p->samples, row->sums.samples);
    p->windows = spy_add_sat(p->windows, row->sums.windows);
    spy_quality_add(&p->quality, &w->quality);
    spy_account_unite(&p->account, &w->account);
    if (!is_latest)
        return 0;
    p->last_ns = end;
    p->period_ns = w->period_ns;
    return note_latest(l, row, latest);
}

static int sum_windows(struct listing *l, int64_t series, struct spy_store_process *p,
                       struct latest *latest)
{
    for (size_t i = 0; i < l->plan.n; i++) {
        _cleanup_reset_ sqlite3_stmt *q = l->rows[i];
        int code, r = 0;
        sqlite3_bind_int64(q, 3, series);
        while (r == 0 && (code = sqlite3_step(q)) == SQLITE_ROW) {
            struct spy_source_row row;
            r = spy_source_read(l->db, q, &l->plan.sources[i], &row, l->err);
            if (r == 0)
                r = add_listed_row(l, &row, p, latest);
        }
        if (r < 0)
            return r;
        if (code != SQLITE_DONE)
            return spy_db_failed(l->db, l->err, "reading");
    }
    return 0;
}

static int compare_ids(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

// The ids of the threads of these samples, each once: *ret to free().
static int collect_thread_ids(struct listing *l, const uint8_t *data, size_t len,
                              uint64_t period_ns, int64_t **ret, size_t *ret_n)
{
    _cleanup_free_ int64_t *ids = NULL;
    size_t n = 0, cap = 0, unique = 0;
    int more;
    struct spy_rows_reader reader = {
        .at = data, .end = data ? data + len : NULL, .period_ns = period_ns};
    struct spy_row row;
    while ((more = spy_rows_next(&reader, &row)) > 0) {
        if (!row.thread || (n && ids[n - 1] == row.thread))
            continue;
        if (spy_grow(&ids, &cap, n + 1, sizeof *ids, SPY_STORE_ROWS_MAX) < 0)
            return spy_err_nomem(l->err);
        ids[n++] = row.thread;
    }
    if (more < 0)
        return spy_db_damaged(l->db, l->err, "samples cannot be read");
    if (n)
        qsort(ids, n, sizeof *ids, compare_ids);
    for (size_t i = 0; i < n; i++)
        if (!i || ids[i] != ids[i - 1])
            ids[unique++] = ids[i];
    *ret = spy_steal(&ids);
    *ret_n = unique;
    return 0;
}

static int collect_latest_threads(struct listing *l, const struct latest *latest,
                                  uint64_t period_ns, int64_t **ret, size_t *ret_n)
{
    _cleanup_reset_ sqlite3_stmt *q = l->samples;
    if (!latest->window)
        return collect_thread_ids(l, latest->data.data, latest->data.len, period_ns, ret, ret_n);
    sqlite3_bind_int64(q, 1, latest->window);
    int code = sqlite3_step(q);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return spy_db_failed(l->db, l->err, "reading");
    bool is_there = code == SQLITE_ROW;
    return collect_thread_ids(l, is_there ? sqlite3_column_blob(q, 0) : NULL,
                              is_there ? (size_t)sqlite3_column_bytes(q, 0) : 0, period_ns, ret,
                              ret_n);
}

static int read_thread_name(struct listing *l, int64_t id, struct spy_arena *arena,
                            struct spy_thread_name *ret)
{
    _cleanup_reset_ sqlite3_stmt *q = l->thread;
    sqlite3_bind_int64(q, 1, id);
    int code = sqlite3_step(q);
    if (code == SQLITE_DONE)
        return spy_db_damaged(l->db, l->err, "a thread is missing");
    const char *name = code == SQLITE_ROW ? (const char *)sqlite3_column_text(q, 1) : NULL;
    if (!name)
        return spy_db_failed(l->db, l->err, "reading");
    size_t size = (size_t)sqlite3_column_bytes(q, 1) + 1;
    char *copy = spy_arena_alloc(arena, size);
    if (!copy)
        return SPY_ERR_LIMIT;
    memcpy(copy, name, size);
    *ret = (struct spy_thread_name){(uint64_t)sqlite3_column_int64(q, 0), copy};
    return 0;
}

// Names that do not fit into the arena are left out.
static int read_thread_names(struct listing *l, const struct latest *latest,
                             struct spy_arena *arena, struct spy_store_process *p)
{
    _cleanup_free_ int64_t *ids = NULL;
    size_t n = 0, got = 0;
    int r = collect_latest_threads(l, latest, p->period_ns, &ids, &n);
    if (r < 0)
        return r;
    n = n < THREADS_MAX ? n : THREADS_MAX;
    struct spy_thread_name *threads = spy_arena_alloc(arena, (n + 1) * sizeof *threads);
    if (!threads)
        return spy_err_nomem(l->err);
    while (got < n && (r = read_thread_name(l, ids[got], arena, &threads[got])) == 0)
        got++;
    p->threads = threads;
    p->n_threads = got;
    return r == SPY_ERR_LIMIT ? 0 : r;
}

static int describe_process(struct listing *l, int64_t series, struct latest *latest,
                            spy_store_process_fn fn, void *arg)
{
    _cleanup_arena_ struct spy_arena arena = SPY_ARENA_INIT(ARENA_BYTES);
    _cleanup_reset_ sqlite3_stmt *labels = l->labels;
    struct spy_store_process p = {0};
    int r = sum_windows(l, series, &p, latest);
    if (r == 0)
        r = read_thread_names(l, latest, &arena, &p);
    if (r < 0)
        return r;
    sqlite3_bind_int64(labels, 1, series);
    int code = sqlite3_step(labels);
    if (code == SQLITE_DONE)
        return spy_db_damaged(l->db, l->err, "a series is missing");
    p.labels_json = code == SQLITE_ROW ? (const char *)sqlite3_column_text(labels, 0) : NULL;
    if (!p.labels_json)
        return spy_db_failed(l->db, l->err, "reading");
    fn(arg, &p);
    return 0;
}

static int list_process(struct listing *l, int64_t series, spy_store_process_fn fn, void *arg)
{
    struct latest latest = {.data = SPY_BUF_INIT(DATA_MAX)};
    int r = describe_process(l, series, &latest, fn, arg);
    spy_buf_free(&latest.data);
    return r;
}

// Adds the series of a source with their last times.
static int find_listed(struct listing *l, const struct spy_source *source)
{
    static const char *const sql[] = {"SELECT w.series, max(w.end_ns) FROM windows w",
                                      "SELECT w.series, max(w.end_ns) FROM rollups w"};
    char tail[sizeof source->where + 32];
    _cleanup_stmt_ sqlite3_stmt *q = NULL;
    int code = SQLITE_DONE;
    snprintf(tail, sizeof tail, "%s GROUP BY +w.series", source->where);
    int r = spy_sqlite_select(l->db, sql[source->level > 0], l->select, tail, &q, l->err);
    while (r == 0 && (code = sqlite3_step(q)) == SQLITE_ROW) {
        if (spy_grow(&l->listed, &l->cap, l->n + 1, sizeof *l->listed, LISTED_MAX) < 0)
            return spy_err_nomem(l->err);
        l->listed[l->n++] = (struct listed){sqlite3_column_int64(q, 0), sqlite3_column_int64(q, 1)};
    }
    return r == 0 && code != SQLITE_DONE ? spy_db_failed(l->db, l->err, "reading") : r;
}

static int compare_listed_series(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;
    if (x->series != y->series)
        return x->series < y->series ? -1 : 1;
    return x->last_ns > y->last_ns ? -1 : x->last_ns < y->last_ns;
}

static int compare_listed_times(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;
    if (x->last_ns != y->last_ns)
        return x->last_ns > y->last_ns ? -1 : 1;
    return x->series < y->series ? -1 : x->series > y->series;
}

// Each series once, the latest first.
static void order_listed(struct listing *l)
{
    size_t kept = 0;
    if (!l->n)
        return;
    qsort(l->listed, l->n, sizeof *l->listed, compare_listed_series);
    for (size_t i = 0; i < l->n; i++)
        if (!i || l->listed[i].series != l->listed[i - 1].series)
            l->listed[kept++] = l->listed[i];
    l->n = kept;
    qsort(l->listed, l->n, sizeof *l->listed, compare_listed_times);
}

static int prepare_listing(struct listing *l)
{
    const struct spy_select times = {.from_ns = l->select->from_ns,
                                     .until_ns = l->select->until_ns};
    int r = spy_plan_make(l->db, l->select, &l->plan, l->err);
    for (size_t i = 0; i < l->plan.n && r == 0; i++) {
        r = find_listed(l, &l->plan.sources[i]);
        if (r == 0)
            r = spy_source_select(l->db, &l->plan.sources[i], &times,
                                  " AND w.series = ?3 ORDER BY w.end_ns", &l->rows[i], l->err);
    }
    if (r == 0)
        r = spy_db_prepare(l->db, "SELECT labels FROM series WHERE id=?", &l->labels, l->err);
    if (r == 0)
        r = spy_db_prepare(l->db, "SELECT data FROM samples WHERE window=?", &l->samples, l->err);
    return r < 0 ? r
                 : spy_db_prepare(l->db,
                                  "SELECT t.tid, s.text FROM threads t JOIN strings s"
                                  " ON s.id = t.name WHERE t.id=?",
                                  &l->thread, l->err);
}

static int list_processes(struct listing *l, spy_store_process_fn fn, void *arg)
{
    int r = prepare_listing(l);
    if (r == 0)
        order_listed(l);
    for (size_t i = 0; i < l->n && i < PROCESSES_MAX && r == 0; i++)
        r = list_process(l, l->listed[i].series, fn, arg);
    return r;
}

int spy_sqlite_processes(struct spy_store *store, const struct spy_select *select,
                         spy_store_process_fn fn, void *arg, struct spy_err *err)
{
    struct spy_sqlite *s = (struct spy_sqlite *)store;
    struct spy_err mine = {0};
    sqlite3 *db = spy_sqlite_take_reader(s, &mine);
    if (db)
        spy_sqlite_heed(s, db, select->stop);
    struct listing l = {.db = db, .select = select, .err = &mine};
    int r = db ? list_processes(&l, fn, arg) : mine.code;
    listing_done(&l);
    if (db)
        spy_sqlite_give_reader(s, db);
    return spy_sqlite_end_read(select, r, &mine, err);
}
