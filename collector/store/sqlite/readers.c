// readers.c - the connections that read: taken and given back, and ended early.
#include "collector/store/sqlite/sqlite.h"
#include "shared/base/stop.h"

static sqlite3 *wait_for_reader(struct spy_sqlite *s)
{
    for (;;) {
        for (int i = 0; i < SPY_SQLITE_READERS; i++)
            if (!s->reader_busy[i]) {
                s->reader_busy[i] = true;
                return s->readers[i];
            }
        pthread_cond_wait(&s->reader_free, &s->reader_lock);
    }
}

sqlite3 *spy_sqlite_take_reader(struct spy_sqlite *s, struct spy_err *err)
{
    pthread_mutex_lock(&s->reader_lock);
    sqlite3 *db = wait_for_reader(s);
    pthread_mutex_unlock(&s->reader_lock);
    if (spy_db_exec(db, "BEGIN", err) < 0) {
        spy_sqlite_give_reader(s, db);
        return NULL;
    }
    return db;
}

void spy_sqlite_give_reader(struct spy_sqlite *s, sqlite3 *db)
{
    sqlite3_progress_handler(db, 0, NULL, NULL);
    if (!sqlite3_get_autocommit(db))
        spy_db_exec(db, "ROLLBACK", NULL);
    pthread_mutex_lock(&s->reader_lock);
    for (int i = 0; i < SPY_SQLITE_READERS; i++)
        if (s->readers[i] == db)
            s->reader_busy[i] = false;
    pthread_cond_signal(&s->reader_free);
    pthread_mutex_unlock(&s->reader_lock);
}

bool spy_sqlite_has_readers(struct spy_sqlite *s)
{
    bool any = false;
    pthread_mutex_lock(&s->reader_lock);
    for (int i = 0; i < SPY_SQLITE_READERS; i++)
        any = any || s->reader_busy[i];
    pthread_mutex_unlock(&s->reader_lock);
    return any;
}

static int is_unwanted(void *arg)
{
    const struct spy_sqlite_heed *h = arg;
    return spy_stop_is_set(h->stop) || spy_stop_is_set(h->hurry);
}

void spy_sqlite_heed(struct spy_sqlite *s, sqlite3 *db, const bool *stop)
{
    enum { STEPS = 10000 }; // of SQLite's machine: well below a millisecond
    for (int i = 0; i < SPY_SQLITE_READERS; i++)
        if (s->readers[i] == db) {
            s->heeds[i] = (struct spy_sqlite_heed){stop, &s->hurry};
            sqlite3_progress_handler(db, STEPS, is_unwanted, &s->heeds[i]);
        }
}

int spy_sqlite_end_read(const struct spy_select *select, int r, const struct spy_err *why,
                        struct spy_err *err)
{
    if (r < 0 && spy_stop_is_set(select->stop))
        return spy_err_set(err, SPY_ERR_GONE, 0, "the client has gone");
    if (r < 0 && err)
        *err = *why;
    return r;
}
