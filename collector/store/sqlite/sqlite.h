// sqlite.h - shared by the files of the SQLite store. Inside of store/sqlite.
//
// One file, podspy.db, in WAL mode with synchronous=FULL: a commit is on the disk. One connection
// writes, behind a lock, with the batches that wait gathered into one transaction; readers have
// connections of their own and see the last commit.
#pragma once
#include "collector/store/store.h"
#include <pthread.h>
#include <sqlite3.h>

enum { SPY_SQLITE_READERS = 4 };

struct spy_batch {
    struct spy_profile *const *profiles;
    size_t n, known;
    int result;
    struct spy_err err;
    bool done;
    struct spy_batch *next;
};

struct spy_sqlite {
    struct spy_store base;
    sqlite3 *writer;
    uint32_t max_series;
    pthread_mutex_t lock; // of the queue of batches
    pthread_cond_t done;
    struct spy_batch *first, *last;
    bool writing;               // one appender works for all that wait
    pthread_mutex_t write_lock; // of the writer connection
    pthread_mutex_t reader_lock;
    pthread_cond_t reader_free;
    sqlite3 *readers[SPY_SQLITE_READERS];
    bool reader_busy[SPY_SQLITE_READERS];
};

int spy_sqlite_failed(sqlite3 *db, struct spy_err *err, const char *what);
int spy_sqlite_exec(sqlite3 *db, const char *sql, struct spy_err *err);
int spy_sqlite_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret, struct spy_err *err);
static inline void spy_sqlite_finalize(sqlite3_stmt **s)
{
    sqlite3_finalize(*s);
}
#define _cleanup_stmt_ __attribute__((cleanup(spy_sqlite_finalize)))

// Reads need one of the reader connections; blocks until one is free.
sqlite3 *spy_sqlite_take_reader(struct spy_sqlite *s);
void spy_sqlite_give_reader(struct spy_sqlite *s, sqlite3 *db);

int spy_sqlite_append(struct spy_store *s, struct spy_profile *const *profiles, size_t n,
                      size_t *ret_known, struct spy_err *err);
int spy_sqlite_query(struct spy_store *s, const struct spy_select *select, struct spy_profile *into,
                     struct spy_err *err);
int spy_sqlite_processes(struct spy_store *s, const struct spy_select *select,
                         spy_store_process_fn fn, void *arg, struct spy_err *err);
// The ids of the series that are selected, latest first. *ret to free().
int spy_sqlite_series(sqlite3 *db, const struct spy_select *select, size_t max, int64_t **ret,
                      size_t *ret_n, struct spy_err *err);
