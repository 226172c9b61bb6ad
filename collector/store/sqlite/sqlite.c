#include "collector/store/sqlite/sqlite.h"
#include "collector/store/sqlite/schema.h"
#include "shared/base/mem.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUSY_MS = 10000 };
static const char pragmas[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-16384;"
    "PRAGMA temp_store=MEMORY; PRAGMA journal_size_limit=67108864;";

int spy_sqlite_failed(sqlite3 *db, struct spy_err *err, const char *what)
{
    int code = sqlite3_errcode(db);
    int ours = code == SQLITE_FULL    ? SPY_ERR_LIMIT
               : code == SQLITE_NOMEM ? SPY_ERR_NOMEM
               : code == SQLITE_BUSY  ? SPY_ERR_AGAIN
                                      : SPY_ERR_IO;
    return spy_err_set(err, ours, 0, "%s: %s", what, sqlite3_errmsg(db));
}

int spy_sqlite_exec(sqlite3 *db, const char *sql, struct spy_err *err)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return spy_sqlite_failed(db, err, "the store");
    return 0;
}

int spy_sqlite_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret, struct spy_err *err)
{
    if (sqlite3_prepare_v2(db, sql, -1, ret, NULL) != SQLITE_OK)
        return spy_sqlite_failed(db, err, "the store");
    return 0;
}

sqlite3 *spy_sqlite_take_reader(struct spy_sqlite *s)
{
    pthread_mutex_lock(&s->reader_lock);
    for (;;) {
        for (int i = 0; i < SPY_SQLITE_READERS; i++)
            if (!s->reader_busy[i]) {
                s->reader_busy[i] = true;
                pthread_mutex_unlock(&s->reader_lock);
                return s->readers[i];
            }
        pthread_cond_wait(&s->reader_free, &s->reader_lock);
    }
}

void spy_sqlite_give_reader(struct spy_sqlite *s, sqlite3 *db)
{
    pthread_mutex_lock(&s->reader_lock);
    for (int i = 0; i < SPY_SQLITE_READERS; i++)
        if (s->readers[i] == db)
            s->reader_busy[i] = false;
    pthread_cond_signal(&s->reader_free);
    pthread_mutex_unlock(&s->reader_lock);
}

static int one_number(sqlite3 *db, const char *sql, int64_t *ret, struct spy_err *err)
{
    _cleanup_stmt_ sqlite3_stmt *q = NULL;
    int r = spy_sqlite_prepare(db, sql, &q, err);
    if (r < 0)
        return r;
    if (sqlite3_step(q) != SQLITE_ROW)
        return spy_sqlite_failed(db, err, "the store");
    *ret = sqlite3_column_int64(q, 0);
    return 0;
}

static int make_or_check_schema(sqlite3 *db, const char *path, struct spy_err *err)
{
    int64_t version, tables;
    int r = one_number(db, "PRAGMA user_version", &version, err);
    if (r == 0)
        r = one_number(db, "SELECT count(*) FROM sqlite_master", &tables, err);
    if (r < 0)
        return r;
    if (version == SPY_SCHEMA_VERSION)
        return 0;
    if (version || tables)
        return spy_err_set(
            err, SPY_ERR_INVALID, 0,
            "%s is not a store of this version (%lld, not %d): move it away to start afresh", path,
            (long long)version, SPY_SCHEMA_VERSION);
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA user_version=%d; COMMIT", SPY_SCHEMA_VERSION);
    r = spy_sqlite_exec(db, "PRAGMA auto_vacuum=INCREMENTAL; VACUUM; BEGIN; " SPY_SCHEMA, err);
    return r < 0 ? r : spy_sqlite_exec(db, sql, err);
}

static int open_db(const char *path, int flags, sqlite3 **ret, struct spy_err *err)
{
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        int r = spy_err_set(err, SPY_ERR_IO, 0, "cannot open the store %s: %s", path,
                            db ? sqlite3_errmsg(db) : "out of memory");
        sqlite3_close(db);
        return r;
    }
    sqlite3_busy_timeout(db, BUSY_MS);
    *ret = db;
    return 0;
}

// --- retention ---

static int drop_windows(struct spy_sqlite *s, const char *where, int64_t value,
                        int64_t *ret_dropped, struct spy_err *err)
{
    char sql[400];
    sqlite3 *db = s->writer;
    static const char *const steps[] = {
        "DELETE FROM samples WHERE window IN (SELECT id FROM windows WHERE %s)",
        "DELETE FROM windows WHERE %s"};
    for (size_t i = 0; i < SPY_COUNT(steps); i++) {
        _cleanup_stmt_ sqlite3_stmt *q = NULL;
        snprintf(sql, sizeof sql, steps[i], where); // NOLINT: both are constants of ours
        int r = spy_sqlite_prepare(db, sql, &q, err);
        if (r < 0)
            return r;
        sqlite3_bind_int64(q, 1, value);
        if (sqlite3_step(q) != SQLITE_DONE)
            return spy_sqlite_failed(db, err, "retention");
        *ret_dropped = sqlite3_changes64(db);
    }
    return 0;
}

static int used_bytes(sqlite3 *db, uint64_t *ret, struct spy_err *err)
{
    int64_t pages, free_pages, size;
    int r = one_number(db, "PRAGMA page_count", &pages, err);
    if (r == 0)
        r = one_number(db, "PRAGMA freelist_count", &free_pages, err);
    if (r == 0)
        r = one_number(db, "PRAGMA page_size", &size, err);
    if (r == 0)
        *ret = (uint64_t)((pages - free_pages) * size);
    return r;
}

static int expire(struct spy_store *store, uint64_t now_ns, uint64_t raw_ns, uint64_t max_bytes,
                  struct spy_err *err)
{
    enum { ROUNDS = 64, PART = 1000 };
    struct spy_sqlite *s = (struct spy_sqlite *)store;
    uint64_t used = 0;
    int64_t dropped = 0;
    pthread_mutex_lock(&s->write_lock);
    int64_t oldest = now_ns > raw_ns ? (int64_t)(now_ns - raw_ns) : 0;
    int r = drop_windows(s, "end_ns < ?1", oldest, &dropped, err);
    for (int i = 0; r == 0 && i < ROUNDS; i++) {
        r = used_bytes(s->writer, &used, err);
        if (r < 0 || used <= max_bytes)
            break;
        r = drop_windows(s, "id IN (SELECT id FROM windows ORDER BY end_ns LIMIT ?1)", PART,
                         &dropped, err);
        if (!dropped)
            break;
    }
    if (r == 0)
        r = spy_sqlite_exec(s->writer,
                            "DELETE FROM labels WHERE series NOT IN (SELECT series FROM windows);"
                            "DELETE FROM series WHERE id NOT IN (SELECT series FROM windows);"
                            "PRAGMA incremental_vacuum(2000)",
                            err);
    pthread_mutex_unlock(&s->write_lock);
    return r;
}

static int check(struct spy_store *store, struct spy_err *err)
{
    struct spy_sqlite *s = (struct spy_sqlite *)store;
    if (pthread_mutex_trylock(&s->write_lock) != 0)
        return 0; // it is being written right now
    int r = spy_sqlite_exec(s->writer, "BEGIN IMMEDIATE; ROLLBACK", err);
    pthread_mutex_unlock(&s->write_lock);
    return r;
}

static void close_store(struct spy_store *store)
{
    struct spy_sqlite *s = (struct spy_sqlite *)store;
    for (int i = 0; i < SPY_SQLITE_READERS; i++)
        sqlite3_close(s->readers[i]);
    sqlite3_close(s->writer);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->write_lock);
    pthread_mutex_destroy(&s->reader_lock);
    pthread_cond_destroy(&s->done);
    pthread_cond_destroy(&s->reader_free);
    free(s);
}

static const struct spy_store_ops ops = {
    .append = spy_sqlite_append,
    .query = spy_sqlite_query,
    .processes = spy_sqlite_processes,
    .expire = expire,
    .check = check,
    .close = close_store,
};

int spy_store_sqlite_open(const char *dir, uint32_t max_series, struct spy_store **ret,
                          struct spy_err *err)
{
    char path[PATH_MAX];
    struct spy_sqlite *s = calloc(1, sizeof *s);
    if (!s || snprintf(path, sizeof path, "%s/podspy.db", dir) >= (int)sizeof path) {
        free(s);
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "cannot open a store in %s", dir);
    }
    s->base.ops = &ops;
    s->max_series = max_series;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->write_lock, NULL);
    pthread_mutex_init(&s->reader_lock, NULL);
    pthread_cond_init(&s->done, NULL);
    pthread_cond_init(&s->reader_free, NULL);
    int r = open_db(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &s->writer, err);
    if (r == 0)
        r = make_or_check_schema(s->writer, path, err);
    if (r == 0)
        r = spy_sqlite_exec(s->writer, pragmas, err);
    for (int i = 0; i < SPY_SQLITE_READERS && r == 0; i++)
        r = open_db(path, SQLITE_OPEN_READWRITE, &s->readers[i], err);
    for (int i = 0; i < SPY_SQLITE_READERS && r == 0; i++)
        r = spy_sqlite_exec(s->readers[i], "PRAGMA query_only=1; PRAGMA cache_size=-8192", err);
    if (r < 0) {
        close_store(&s->base);
        return r;
    }
    *ret = &s->base;
    return 0;
}
