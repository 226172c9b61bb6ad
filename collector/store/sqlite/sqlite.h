// sqlite.h - shared by the files of the SQLite store. Inside of store/sqlite.
//
// One file, podspy.db, in WAL mode with synchronous=FULL: a commit is on the disk. One connection
// writes, behind a lock, and commits all waiting batches in one transaction. Readers have their own
// connections, and each query sees a single commit. podspy.lock keeps a second collector out: the
// writer caches ids, so it must be the only one.
#pragma once
#include "collector/store/batch.h"
#include "collector/store/retention_clock.h"
#include "collector/store/sqlite/db.h"
#include "collector/store/store.h"
#include <pthread.h>

enum { SPY_SQLITE_READERS = 6, SPY_SQLITE_BUSY_MS = 10000 }; // as many as queries run at a time

struct spy_intern; // intern.h

struct spy_sqlite {
    struct spy_store base;
    char *path;
    int lock_fd; // of podspy.lock
    uint32_t max_series;
    size_t memory;

    struct spy_batch_queue queue;

    pthread_mutex_t write_lock; // of all from here to the next lock
    sqlite3 *writer;
    struct spy_intern *intern;
    uint64_t digest_key; // digest.h
    sqlite3_stmt *find_window, *find_taken, *add_window, *add_samples;
    int64_t next_window; // id; no window that was rolled up ever had it
    struct spy_store_levels levels;
    uint64_t raw_ns;         // as passed to expire
    bool has_no_room;        // for roll-ups
    int64_t taken_until;     // ends of the windows whose profile ids are in `taken` lie before it
    uint32_t swept;          // everything seen before this slice is gone
    uint64_t max_bytes;      // of database and WAL together, as passed to expire; 0: not yet
    int wal_pages;           // after the latest commit
    uint64_t wal_busy_until; // CLOCK_MONOTONIC: the WAL need not be restarted before
    struct spy_retention_clock clock;

    pthread_mutex_t reader_lock;
    pthread_cond_t reader_free;
    sqlite3 *readers[SPY_SQLITE_READERS];
    bool reader_busy[SPY_SQLITE_READERS];
    struct spy_sqlite_heed {
        const bool *stop, *hurry;
    } heeds[SPY_SQLITE_READERS];
    bool hurry; // atomic: the WAL must be restarted, so readers have to end

    bool is_new; // podspy.db did not exist
    int db_fd;   // locked too, in case podspy.lock is removed
};

// A reader connection with an open transaction: all reads see the same commit. Blocks until a
// connection is free. NULL: failed; err says why. In readers.c, as the next two.
sqlite3 *spy_sqlite_take_reader(struct spy_sqlite *s, struct spy_err *err);
bool spy_sqlite_has_readers(struct spy_sqlite *s); // that are taken
void spy_sqlite_give_reader(struct spy_sqlite *s, sqlite3 *db);

int spy_sqlite_append(struct spy_store *s, struct spy_profile *const *profiles, size_t n,
                      size_t *ret_known, bool *ret_is_known, struct spy_err *err);
int spy_sqlite_query(struct spy_store *s, const struct spy_select *select, struct spy_profile *into,
                     struct spy_err *err);
int spy_sqlite_windows(struct spy_store *s, const struct spy_select *select, uint64_t step_ns,
                       struct spy_profile *into, spy_store_window_fn fn, void *arg,
                       struct spy_err *err);
int spy_sqlite_processes(struct spy_store *s, const struct spy_select *select,
                         spy_store_process_fn fn, void *arg, struct spy_err *err);
int spy_sqlite_backup_dir(const char *dir, const char *to, struct spy_err *err);
int spy_sqlite_verify(struct spy_store *s, unsigned max_secs, struct spy_err *err);
int spy_sqlite_verify_db(sqlite3 *db, unsigned max_secs, struct spy_err *err);
int spy_sqlite_expire(struct spy_store *s, uint64_t now_ns, uint64_t raw_ns, uint64_t max_bytes,
                      struct spy_err *err);

// "head WHERE <windows w that are selected> tail", prepared and bound.
int spy_sqlite_select(sqlite3 *db, const char *head, const struct spy_select *select,
                      const char *tail, sqlite3_stmt **ret, struct spy_err *err);
// Ends what the reader runs with SPY_ERR_AGAIN once *stop is set (NULL: never), or when the WAL must
// be restarted. Holds until the reader is given back.
void spy_sqlite_heed(struct spy_sqlite *s, sqlite3 *db, const bool *stop);
// The result of a read that ended with r: SPY_ERR_GONE if its stop was set, else r and *why.
int spy_sqlite_end_read(const struct spy_select *select, int r, const struct spy_err *why,
                        struct spy_err *err);

// Drops the oldest windows until a part of the database is free. write_lock is held. Returns whether
// there is room now. In expire.c.
bool spy_sqlite_make_room(struct spy_sqlite *s);
// Whether a batch of so many bytes has no room within max_bytes (so that SQLITE_FULL came from that
// bound and not from the disk).
bool spy_sqlite_is_at_bound(struct spy_sqlite *s, size_t bytes);

// room.c; write_lock is held for all of it.
//
// How max_bytes is divided: the pages that the database may have, and the bytes that the WAL may.
// held: the bytes that the WAL always has on the disk.
struct spy_sqlite_room {
    uint64_t database, wal, held;
};
enum { SPY_SQLITE_PAGE = 4096, SPY_SQLITE_HELD_WAL = 16 << 20 }; // SQLite's default page, and ours
struct spy_sqlite_room spy_sqlite_room(uint64_t max_bytes);
// Before a commit: allocates blocks for all pages of the database file and some more.
// SPY_ERR_LIMIT with ENOSPC in err->sys: the disk is full, and the database has more pages than
// `before`.
int spy_sqlite_hold_database(struct spy_sqlite *s, int64_t before, struct spy_err *err);
// Whether the disk has less room than the WAL may take.
bool spy_sqlite_is_disk_low(const struct spy_sqlite *s);
// Before the first connection: makes SQLite keep the blocks of the WAL's index.
void spy_sqlite_keep_index(void);
// Allocates the WAL's blocks, if the disk has them.
void spy_sqlite_hold_wal(struct spy_sqlite *s);
// After a commit: writes the WAL back. Once the WAL exceeds half of its share of max_bytes (on a full
// disk: of the bytes held for it), ends the readers that keep SQLite from restarting it.
void spy_sqlite_bound_wal(struct spy_sqlite *s);
// Ends the readers, writes the WAL back and restarts it.
void spy_sqlite_restart_wal(struct spy_sqlite *s);
// Closes the writer, which must be the last connection.
void spy_sqlite_close_writer(struct spy_sqlite *s);

// The columns of a window's quality, each with a comma behind it; `first` is the column that they
// begin at.
#define SPY_SQLITE_COLUMN(name, ...) " " #name ","
#define SPY_SQLITE_QUALITY           SPY_QUALITY(SPY_SQLITE_COLUMN)
struct spy_quality spy_sqlite_quality(sqlite3_stmt *q, int first);
// The columns of a window's account, of `windows w`; `first` is the column that they begin at.
#define SPY_SQLITE_ACCOUNT                                                                         \
    " w.running_ns, w.runnable_ns, w.cpu_ns, w.runqueue_ns, w.throttled_ns, w.throttled_periods"
struct spy_account spy_sqlite_account(sqlite3_stmt *q, int first, uint64_t duration_ns);
