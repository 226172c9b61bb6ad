// db.h - SQLite's calls with this program's errors. Inside of store/sqlite.
//
// Knows nothing of the store: every file of the store may use it. A connection, and each statement
// of it, belongs to one thread at a time.
#pragma once
#include "shared/base/err.h"
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

// Puts SQLite's message into err, with `what` before it, and returns the code: SPY_ERR_LIMIT, with
// ENOSPC in err->sys, when the disk or the file is full. A damaged file is SPY_ERR_IO (a retry later
// or elsewhere can help, as the windows to be stored are not at fault), and the message says what to
// do.
int spy_db_failed(sqlite3 *db, struct spy_err *err, const char *what);
// Sets that error for damage that SQLite did not find: how, such as "a row is missing".
int spy_db_damaged(sqlite3 *db, struct spy_err *err, const char *how);
// Whether the last failure on this connection was a damaged file.
bool spy_db_is_damaged(sqlite3 *db);
int spy_db_exec(sqlite3 *db, const char *sql, struct spy_err *err);
int spy_db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret, struct spy_err *err);
// The first column of the first row; NULL counts as 0.
int spy_db_number(sqlite3 *db, const char *sql, int64_t *ret, struct spy_err *err);
// Runs a statement that returns no rows, and resets it.
int spy_db_run(sqlite3 *db, sqlite3_stmt *q, struct spy_err *err);

static inline void spy_db_finalize(sqlite3_stmt **s)
{
    sqlite3_finalize(*s);
}
static inline void spy_db_reset(sqlite3_stmt **s)
{
    if (*s)
        sqlite3_reset(*s);
}
#define _cleanup_stmt_  __attribute__((cleanup(spy_db_finalize)))
#define _cleanup_reset_ __attribute__((cleanup(spy_db_reset))) // for a borrowed statement

// Teaches a connection the function spy_glob(pattern, text).
int spy_db_add_glob(sqlite3 *db, struct spy_err *err);

// A time as SQLite keeps it: cut at INT64_MAX (the year 2262).
static inline int64_t spy_db_time(uint64_t ns)
{
    return ns < INT64_MAX ? (int64_t)ns : INT64_MAX;
}
