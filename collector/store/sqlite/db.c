#include "collector/store/sqlite/db.h"
#include "shared/base/text.h"
#include <errno.h>

int spy_db_damaged(sqlite3 *db, struct spy_err *err, const char *how)
{
    const char *path = sqlite3_db_filename(db, "main");
    return spy_err_set(err, SPY_ERR_IO, 0,
                       "the store is damaged (%s): stop the collector and either move %s* away to "
                       "start afresh, or try sqlite3's .recover",
                       how, path ? path : "podspy.db");
}

static bool is_damage_code(int code)
{
    return code == SQLITE_CORRUPT || code == SQLITE_NOTADB || code == SQLITE_FORMAT;
}

bool spy_db_is_damaged(sqlite3 *db)
{
    return is_damage_code(sqlite3_errcode(db));
}

int spy_db_failed(sqlite3 *db, struct spy_err *err, const char *what)
{
    int code = sqlite3_errcode(db), sys = sqlite3_system_errno(db);
    if (is_damage_code(code))
        return spy_db_damaged(db, err, sqlite3_errmsg(db));
    if (code == SQLITE_INTERRUPT)
        return spy_err_set(err, SPY_ERR_AGAIN, 0,
                           "the store interrupted the query to restart its WAL");
    int ours = code == SQLITE_FULL || (code == SQLITE_IOERR && sys == ENOSPC) ? SPY_ERR_LIMIT
               : code == SQLITE_NOMEM                                         ? SPY_ERR_NOMEM
               : code == SQLITE_BUSY                                          ? SPY_ERR_AGAIN
                                                                              : SPY_ERR_IO;
    return spy_err_set(err, ours,
                       ours == SPY_ERR_IO      ? sys
                       : ours == SPY_ERR_LIMIT ? ENOSPC
                                               : 0,
                       "the store: %s: %s", what, sqlite3_errmsg(db));
}

int spy_db_exec(sqlite3 *db, const char *sql, struct spy_err *err)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return spy_db_failed(db, err, "a transaction");
    return 0;
}

int spy_db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret, struct spy_err *err)
{
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) != SQLITE_OK)
        return spy_db_failed(db, err, "preparing");
    *ret = q;
    return 0;
}

int spy_db_number(sqlite3 *db, const char *sql, int64_t *ret, struct spy_err *err)
{
    _cleanup_stmt_ sqlite3_stmt *q = NULL;
    int r = spy_db_prepare(db, sql, &q, err);
    if (r < 0)
        return r;
    if (sqlite3_step(q) != SQLITE_ROW)
        return spy_db_failed(db, err, "reading");
    *ret = sqlite3_column_int64(q, 0);
    return 0;
}

int spy_db_run(sqlite3 *db, sqlite3_stmt *borrowed, struct spy_err *err)
{
    _cleanup_reset_ sqlite3_stmt *q = borrowed;
    return sqlite3_step(q) == SQLITE_DONE ? 0 : spy_db_failed(db, err, "writing");
}

static void run_glob(sqlite3_context *ctx, int n, sqlite3_value **values)
{
    (void)n;
    const char *pattern = (const char *)sqlite3_value_text(values[0]);
    const char *text = (const char *)sqlite3_value_text(values[1]);
    sqlite3_result_int(ctx, pattern && text && spy_glob_matches(pattern, text));
}

int spy_db_add_glob(sqlite3 *db, struct spy_err *err)
{
    if (sqlite3_create_function_v2(db, "spy_glob", 2,
                                   SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY, NULL,
                                   run_glob, NULL, NULL, NULL) != SQLITE_OK)
        return spy_db_failed(db, err, "opening");
    return 0;
}
