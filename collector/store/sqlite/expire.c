// expire.c - retention. Everything goes in small transactions with the lock given up in between, so
// that appenders wait for one part and not for all.
//
// The pages of what is deleted are used again; only when more than an eighth of the file is free
// does it shrink, SHRINK_PAGES a call. The file grows to max_bytes and an eighth at most
// (max_page_count): between two calls an append past that is SPY_ERR_LIMIT.
#include "collector/store/sqlite/intern.h"
#include "collector/store/sqlite/schema.h"
#include "collector/store/sqlite/sqlite.h"
#include "shared/base/mem.h"
#include <inttypes.h>
#include <stdio.h>

enum {
    PART_AGED = 500,
    PART_FIT = 50,
    PART_ROWS = 20000,
    SHRINK_PAGES = 8192,
    WAL_PAGES_MAX = 16384
};

struct pages {
    int64_t total, unused, size;
};

static int count_pages(sqlite3 *db, struct pages *ret, struct spy_err *err)
{
    int r = spy_sqlite_number(db, "PRAGMA page_count", &ret->total, err);
    if (r == 0)
        r = spy_sqlite_number(db, "PRAGMA freelist_count", &ret->unused, err);
    if (r == 0)
        r = spy_sqlite_number(db, "PRAGMA page_size", &ret->size, err);
    return r;
}

// Deleting can itself need a page or two, so the bound is off while it runs.
static int bound_pages(sqlite3 *db, uint64_t pages, struct spy_err *err)
{
    char sql[64];
    pages = pages < 16 ? 16 : pages > UINT32_MAX - 1 ? UINT32_MAX - 1 : pages;
    snprintf(sql, sizeof sql, "PRAGMA max_page_count=%" PRIu64, pages);
    return spy_sqlite_exec(db, sql, err);
}

// The steps in one transaction. ?1 is value, ?2 the part; *ret_deleted is of the last step.
static int delete_part(struct spy_sqlite *s, const char *const *steps, size_t n, int64_t value,
                       int64_t part, int64_t *ret_deleted, struct spy_err *err)
{
    sqlite3 *db = s->writer;
    int64_t deleted = 0;
    int r = spy_sqlite_exec(db, "BEGIN IMMEDIATE", err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n && r == 0; i++) {
        _cleanup_stmt_ sqlite3_stmt *q = NULL;
        r = spy_sqlite_prepare(db, steps[i], &q, err);
        if (r < 0)
            break;
        int params = sqlite3_bind_parameter_count(q);
        if (params > 0)
            sqlite3_bind_int64(q, 1, value);
        if (params > 1)
            sqlite3_bind_int64(q, 2, part);
        r = spy_sqlite_run(db, q, err);
        deleted = sqlite3_changes64(db);
    }
    if (r == 0)
        r = spy_sqlite_exec(db, "COMMIT", err);
    if (r < 0 && !sqlite3_get_autocommit(db))
        spy_sqlite_exec(db, "ROLLBACK", NULL);
    if (r == 0)
        *ret_deleted = deleted;
    return r;
}

static void let_others_write(struct spy_sqlite *s)
{
    pthread_mutex_unlock(&s->write_lock);
    pthread_mutex_lock(&s->write_lock);
}

// The oldest windows that end at `last_ns` or before, at most `part` of them.
static int drop_windows(struct spy_sqlite *s, int64_t last_ns, int64_t part, int64_t *ret_dropped,
                        struct spy_err *err)
{
#define OLDEST "(SELECT id FROM windows WHERE end_ns <= ?1 ORDER BY end_ns, id LIMIT ?2)"
    static const char *const steps[] = {"DELETE FROM samples WHERE window IN " OLDEST,
                                        "DELETE FROM windows WHERE id IN " OLDEST};
    return delete_part(s, steps, SPY_COUNT(steps), last_ns, part, ret_dropped, err);
}

static int drop_aged(struct spy_sqlite *s, int64_t last_ns, struct spy_err *err)
{
    int64_t dropped = PART_AGED;
    int r = 0;
    while (r == 0 && dropped == PART_AGED) {
        r = drop_windows(s, last_ns, PART_AGED, &dropped, err);
        let_others_write(s);
    }
    return r;
}

// The slice of the oldest window: what was seen before it is garbage. EMPTY: there is no window.
enum { EMPTY = UINT32_MAX / 2 };
static int oldest_slice(sqlite3 *db, uint32_t *ret, struct spy_err *err)
{
    int64_t ns;
    int r = spy_sqlite_number(
        db, "SELECT coalesce((SELECT end_ns FROM windows ORDER BY end_ns LIMIT 1), -1)", &ns, err);
    if (r == 0)
        *ret = ns < 0 ? EMPTY : (uint32_t)((uint64_t)ns / SPY_SCHEMA_SLICE_NS);
    return r;
}

struct steps {
    const char *sql[3];
    size_t n;
};

// Part by part. Each part asks anew what is garbage: an append in between may have brought an old
// window.
static int sweep_table(struct spy_sqlite *s, const struct steps *steps, int64_t *total,
                       struct spy_err *err)
{
    int64_t deleted = PART_ROWS;
    int r = 0;
    while (r == 0 && deleted == PART_ROWS) {
        uint32_t slice;
        r = oldest_slice(s->writer, &slice, err);
        if (r == 0)
            r = delete_part(s, steps->sql, steps->n, slice, PART_ROWS, &deleted, err);
        spy_intern_forget(s->intern); // the next append must not find in the cache what is gone
        if (r == 0) {
            *total += deleted;
            let_others_write(s);
        }
    }
    return r;
}

// What only windows that are gone referred to. A stack whose parent went a part earlier is as old,
// so no window can need it, and it goes with the next part.
static int sweep(struct spy_sqlite *s, struct spy_err *err)
{
    static const struct steps marked[] = {
        {{"DELETE FROM stacks WHERE id IN (SELECT id FROM stacks WHERE seen < ?1 LIMIT ?2)"}, 1},
        {{"DELETE FROM threads WHERE id IN (SELECT id FROM threads WHERE seen < ?1 LIMIT ?2)"}, 1},
        {{"DELETE FROM labels WHERE series IN (SELECT id FROM series WHERE seen < ?1 LIMIT ?2)",
          "DELETE FROM series WHERE id IN (SELECT id FROM series WHERE seen < ?1 LIMIT ?2)"},
         2},
    };
    // In one transaction: between two of these an append could take up what the next one deletes.
    static const struct steps rest = {
        {"DELETE FROM frames WHERE id NOT IN (SELECT frame FROM stacks)",
         "DELETE FROM functions WHERE id NOT IN (SELECT function FROM frames)",
         "DELETE FROM strings WHERE id NOT IN (SELECT name FROM functions UNION ALL"
         " SELECT filename FROM functions UNION ALL SELECT name FROM threads)"},
        3};
    int64_t swept = 0, ignored;
    uint32_t slice;
    int r = oldest_slice(s->writer, &slice, err);
    if (r < 0 || slice <= s->swept)
        return r;
    for (size_t i = 0; i < SPY_COUNT(marked) && r == 0; i++)
        r = sweep_table(s, &marked[i], &swept, err);
    if (r == 0 && swept) {
        r = delete_part(s, rest.sql, rest.n, 0, 0, &ignored, err);
        spy_intern_forget(s->intern);
    }
    if (r == 0)
        s->swept = slice == EMPTY ? 0 : slice;
    return r;
}

static int fit(struct spy_sqlite *s, uint64_t max_bytes, struct spy_err *err)
{
    int64_t dropped = 1;
    int r = 0;
    while (r == 0 && dropped) {
        struct pages pages;
        r = count_pages(s->writer, &pages, err);
        if (r < 0 || (uint64_t)((pages.total - pages.unused) * pages.size) <= max_bytes)
            return r;
        r = drop_windows(s, INT64_MAX, PART_FIT, &dropped, err);
        if (r == 0)
            r = sweep(s, err);
        let_others_write(s);
    }
    return r;
}

// With readers always at work the WAL is never begun anew by itself; then the writer waits for them
// once. That it cannot is not an error: the next call tries again.
static void checkpoint(sqlite3 *db)
{
    int wal_pages = 0;
    sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, &wal_pages, NULL);
    if (wal_pages > WAL_PAGES_MAX)
        sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

static int shrink(struct spy_sqlite *s, uint64_t max_bytes, struct spy_err *err)
{
    struct pages pages;
    char sql[96];
    int r = count_pages(s->writer, &pages, err);
    if (r == 0 && pages.unused > pages.total / 8) {
        snprintf(sql, sizeof sql, "PRAGMA incremental_vacuum(%d)", SHRINK_PAGES);
        r = spy_sqlite_exec(s->writer, sql, err);
    }
    if (r < 0)
        return r;
    checkpoint(s->writer);
    return bound_pages(s->writer, (max_bytes / 8 * 9) / (uint64_t)pages.size, err);
}

int spy_sqlite_expire(struct spy_store *store, uint64_t now_ns, uint64_t raw_ns, uint64_t max_bytes,
                      struct spy_err *err)
{
    struct spy_sqlite *s = (struct spy_sqlite *)store;
    pthread_mutex_lock(&s->write_lock);
    int r = bound_pages(s->writer, UINT32_MAX, err);
    if (r == 0 && now_ns > raw_ns)
        r = drop_aged(s, spy_sqlite_time(now_ns - raw_ns) - 1, err);
    if (r == 0)
        r = sweep(s, err);
    if (r == 0)
        r = fit(s, max_bytes, err);
    if (r == 0)
        r = shrink(s, max_bytes, err);
    pthread_mutex_unlock(&s->write_lock);
    return r;
}
