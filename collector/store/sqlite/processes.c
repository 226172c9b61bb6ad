// processes.c - lists the selected series, one process each.
#include "collector/store/sqlite/rows.h"
#include "collector/store/sqlite/sqlite.h"
#include "shared/base/arena.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

enum { PROCESSES_MAX = 10000, THREADS_MAX = 4096, ARENA_BYTES = 4 << 20 };

struct listing {
    sqlite3 *db;
    const struct spy_select *select;
    struct spy_err *err;
    sqlite3_stmt *windows, *labels, *samples, *thread;
};

static void listing_done(struct listing *l)
{
    sqlite3_finalize(l->windows);
    sqlite3_finalize(l->labels);
    sqlite3_finalize(l->samples);
    sqlite3_finalize(l->thread);
}

enum { QUALITY = 5, ACCOUNT = QUALITY + SPY_QUALITY_N }; // columns of ONE_SERIES
#define ONE_SERIES                                                                                 \
    "SELECT id, start_ns, end_ns, period_ns, samples," SPY_SQLITE_QUALITY SPY_SQLITE_ACCOUNT       \
    " FROM windows w WHERE series = ?1 AND end_ns >= ?2 AND start_ns < ?3"                         \
    " AND (end_ns > ?2 OR start_ns = ?2) ORDER BY end_ns"

// Sums the windows; *ret_latest is the id of the last one.
static int sum_windows(struct listing *l, int64_t series, struct spy_store_process *p,
                       int64_t *ret_latest)
{
    _cleanup_reset_ sqlite3_stmt *q = l->windows;
    int code;
    sqlite3_bind_int64(q, 1, series);
    sqlite3_bind_int64(q, 2, spy_db_time(l->select->from_ns));
    sqlite3_bind_int64(q, 3, spy_db_time(l->select->until_ns));
    while ((code = sqlite3_step(q)) == SQLITE_ROW) {
        uint64_t start = (uint64_t)sqlite3_column_int64(q, 1);
        p->first_ns = !p->windows || start < p->first_ns ? start : p->first_ns;
        p->last_ns = (uint64_t)sqlite3_column_int64(q, 2);
        p->period_ns = (uint64_t)sqlite3_column_int64(q, 3);
        p->samples = spy_add_sat(p->samples, (uint64_t)sqlite3_column_int64(q, 4));
        struct spy_quality quality = spy_sqlite_quality(q, QUALITY);
        spy_quality_add(&p->quality, &quality);
        struct spy_account account =
            spy_sqlite_account(q, ACCOUNT, p->last_ns > start ? p->last_ns - start : 0);
        account.period_ns = p->period_ns;
        spy_account_unite(&p->account, &account);
        p->windows++;
        *ret_latest = sqlite3_column_int64(q, 0);
    }
    return code == SQLITE_DONE ? 0 : spy_db_failed(l->db, l->err, "reading");
}

static int compare_ids(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

// The ids of the threads of a window, each once: *ret to free().
static int collect_thread_ids(struct listing *l, int64_t window, uint64_t period_ns, int64_t **ret,
                              size_t *ret_n)
{
    _cleanup_reset_ sqlite3_stmt *q = l->samples;
    _cleanup_free_ int64_t *ids = NULL;
    size_t n = 0, cap = 0, unique = 0;
    sqlite3_bind_int64(q, 1, window);
    int code = sqlite3_step(q), more = 0;
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return spy_db_failed(l->db, l->err, "reading");
    const uint8_t *data = code == SQLITE_ROW ? sqlite3_column_blob(q, 0) : NULL;
    struct spy_rows_reader reader = {.at = data, .period_ns = period_ns};
    reader.end = data ? data + sqlite3_column_bytes(q, 0) : NULL;
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
static int read_thread_names(struct listing *l, int64_t window, struct spy_arena *arena,
                             struct spy_store_process *p)
{
    _cleanup_free_ int64_t *ids = NULL;
    size_t n = 0, got = 0;
    int r = collect_thread_ids(l, window, p->period_ns, &ids, &n);
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

static int list_process(struct listing *l, int64_t series, spy_store_process_fn fn, void *arg)
{
    _cleanup_arena_ struct spy_arena arena = SPY_ARENA_INIT(ARENA_BYTES);
    _cleanup_reset_ sqlite3_stmt *labels = l->labels;
    struct spy_store_process p = {0};
    int64_t latest = 0;
    int r = sum_windows(l, series, &p, &latest);
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

static int list_processes(struct listing *l, spy_store_process_fn fn, void *arg)
{
    _cleanup_stmt_ sqlite3_stmt *q = NULL;
    int code = SQLITE_DONE;
    int r =
        spy_sqlite_select(l->db, "SELECT w.series, max(w.end_ns) AS last FROM windows w", l->select,
                          " GROUP BY +w.series ORDER BY last DESC, w.series LIMIT ?", &q, l->err);
    if (r == 0)
        r = spy_db_prepare(l->db, ONE_SERIES, &l->windows, l->err);
    if (r == 0)
        r = spy_db_prepare(l->db, "SELECT labels FROM series WHERE id=?", &l->labels, l->err);
    if (r == 0)
        r = spy_db_prepare(l->db, "SELECT data FROM samples WHERE window=?", &l->samples, l->err);
    if (r == 0)
        r = spy_db_prepare(l->db,
                           "SELECT t.tid, s.text FROM threads t JOIN strings s ON s.id = t.name"
                           " WHERE t.id=?",
                           &l->thread, l->err);
    if (r < 0)
        return r;
    sqlite3_bind_int64(q, sqlite3_bind_parameter_count(q), PROCESSES_MAX);
    while (r == 0 && (code = sqlite3_step(q)) == SQLITE_ROW)
        r = list_process(l, sqlite3_column_int64(q, 0), fn, arg);
    return r == 0 && code != SQLITE_DONE ? spy_db_failed(l->db, l->err, "reading") : r;
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
