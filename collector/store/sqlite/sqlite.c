#include "collector/store/sqlite/sqlite.h"
#include "collector/store/sqlite/intern.h"
#include "collector/store/sqlite/schema.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WRITER_CACHE = 16 << 20, READER_CACHE = 8 << 20 };
enum { GROUP_BYTES = 32 << 20 }; // of profiles in one commit
#define FAILED_NS (15 * SPY_NS_PER_SEC)
static const char pragmas[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY;"
    " PRAGMA journal_size_limit=16777216; PRAGMA secure_delete=OFF;";

// --- opening ---

static int make_schema(sqlite3 *db, struct spy_err *err)
{
    char sql[128];
    snprintf(sql, sizeof sql, "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
             SPY_SCHEMA_APPLICATION, SPY_SCHEMA_VERSION);
    int r = spy_db_exec(db, "PRAGMA auto_vacuum=INCREMENTAL; BEGIN IMMEDIATE; " SPY_SCHEMA, err);
    return r < 0 ? r : spy_db_exec(db, sql, err);
}

// One transaction: a collector that is killed in it leaves the version that was.
static int upgrade_schema(sqlite3 *db, int64_t from, struct spy_err *err)
{
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA user_version=%d; COMMIT", SPY_SCHEMA_VERSION);
    int r = spy_db_exec(db, "BEGIN IMMEDIATE", err);
    if (r == 0 && from < 2)
        r = spy_db_exec(db, SPY_SCHEMA_FROM_1, err);
    if (r == 0 && from < 3)
        r = spy_db_exec(db, SPY_SCHEMA_FROM_2, err);
    if (r == 0)
        r = spy_db_exec(db, sql, err);
    if (r < 0 && !sqlite3_get_autocommit(db))
        spy_db_exec(db, "ROLLBACK", NULL);
    return r;
}

struct identity {
    int64_t application, version, tables;
};

static int read_identity(sqlite3 *db, struct identity *ret, struct spy_err *err)
{
    int r = spy_db_number(db, "PRAGMA application_id", &ret->application, err);
    if (r == 0)
        r = spy_db_number(db, "PRAGMA user_version", &ret->version, err);
    if (r == 0)
        r = spy_db_number(db, "SELECT count(*) FROM sqlite_master", &ret->tables, err);
    return r;
}

static int check_db_identity(const struct identity *i, const char *path, struct spy_err *err)
{
    if (i->application != SPY_SCHEMA_APPLICATION)
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "%s is a database of another program: move it away, or set store.dir",
                           path);
    if (i->version < 1 || i->version > SPY_SCHEMA_VERSION)
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "%s is of version %lld and this collector knows version %d: use the "
                           "collector that wrote it, or move it away to start afresh",
                           path, (long long)i->version, SPY_SCHEMA_VERSION);
    return 0;
}

static int make_or_check_schema(sqlite3 *db, const char *path, struct spy_err *err)
{
    struct identity i = {0};
    int r = read_identity(db, &i, err);
    if (r < 0)
        return r;
    if (!i.application && !i.version && !i.tables)
        return make_schema(db, err);
    r = check_db_identity(&i, path, err);
    return r == 0 && i.version < SPY_SCHEMA_VERSION ? upgrade_schema(db, i.version, err) : r;
}

static int open_db(const char *path, int flags, sqlite3 **ret, struct spy_err *err)
{
    sqlite3 *db = NULL;
    int code = sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK) {
        sqlite3_busy_timeout(db, SPY_SQLITE_BUSY_MS);
        sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)NULL);
        *ret = db;
        return 0;
    }
    int r = spy_err_set(err, SPY_ERR_IO, db ? sqlite3_system_errno(db) : 0,
                        "cannot open the store %s: %s", path, sqlite3_errstr(code));
    sqlite3_close(db);
    return r;
}

static off_t size_of_wal(const struct spy_sqlite *s)
{
    struct stat st;
    _cleanup_free_ char *wal = NULL;
    if (asprintf(&wal, "%s-wal", s->path) < 0) {
        wal = NULL;
        return 0;
    }
    return stat(wal, &st) == 0 ? st.st_size : 0;
}

// SQLite would initialize an empty database and drop the WAL beside it, which holds acknowledged
// data.
static int refuse_emptied(struct spy_sqlite *s, struct spy_err *err)
{
    struct stat st;
    if (fstat(s->db_fd, &st) < 0)
        return spy_err_set(err, SPY_ERR_IO, errno, "cannot inspect the store %s", s->path);
    if (st.st_size || (s->is_new && !size_of_wal(s)))
        return 0;
    return spy_err_set(
        err, SPY_ERR_INVALID, 0,
        "the store %s is empty although it existed before: it may have been truncated. Put a "
        "copy of it back, or move %s* away to start afresh",
        s->path, s->path);
}

// Removes an empty file that this start made, so that the next start does not take it for a truncated
// one.
static void remove_unfinished(const struct spy_sqlite *s)
{
    struct stat st;
    if (s->is_new && s->db_fd >= 0 && fstat(s->db_fd, &st) == 0 && !st.st_size)
        unlink(s->path);
}

// Makes the file 0600 before SQLite would make it 0644 less the umask: its data is the collector's.
static int lock_and_touch(struct spy_sqlite *s, const char *dir, struct spy_err *err)
{
    _cleanup_free_ char *lock = NULL;
    s->is_new = access(s->path, F_OK) < 0;
    s->db_fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->db_fd < 0)
        return spy_err_set(err, SPY_ERR_IO, errno, "cannot open the store %s", s->path);
    if (asprintf(&lock, "%s/podspy.lock", dir) < 0) {
        lock = NULL;
        return spy_err_nomem(err);
    }
    s->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return spy_err_set(err, SPY_ERR_IO, errno, "cannot open %s", lock);
    // SQLite's own locks (fcntl) end when any descriptor of the file is closed, so this descriptor
    // stays open as long as the store.
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0 || flock(s->db_fd, LOCK_EX | LOCK_NB) < 0)
        return spy_err_set(err, SPY_ERR_DENIED, 0,
                           "%s is in use by another collector: stop it, or set store.dir", s->path);
    return refuse_emptied(s, err);
}

// Replaces SQLite's own hook, which writes the WAL back at 1000 pages.
static int note_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
    struct spy_sqlite *s = arg;
    (void)db, (void)name;
    s->wal_pages = pages;
    return SQLITE_OK;
}

static int bound_cache(sqlite3 *db, size_t bytes, struct spy_err *err)
{
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA cache_size=-%zu", bytes >> 10);
    return spy_db_exec(db, sql, err);
}

// The ids of windows grow for ever, as roll-ups go by them: SQLite would give that of the last window
// again once it was dropped.
static int read_bounds(struct spy_sqlite *s, struct spy_err *err)
{
    int64_t last = 0;
    int r = spy_db_number(s->writer,
                          "SELECT max(coalesce((SELECT max(id) FROM windows), 0),"
                          " (SELECT done FROM levels WHERE level = 0))",
                          &last, err);
    s->next_window = last + 1;
    return r == 0 ? spy_db_number(s->writer, "SELECT dropped FROM levels WHERE level = 0",
                                  &s->taken_until, err)
                  : r;
}

static int open_writer(struct spy_sqlite *s, struct spy_err *err)
{
    static const struct {
        size_t to;
        const char *sql;
    } statements[] = {
        {offsetof(struct spy_sqlite, find_window), "SELECT 1 FROM windows WHERE profile_id=?"},
        {offsetof(struct spy_sqlite, find_taken),
         "SELECT 1 FROM taken WHERE day=?2 AND profile_id=?1"},
        {offsetof(struct spy_sqlite, add_window),
         "INSERT INTO windows(profile_id, series, start_ns, end_ns, period_ns," SPY_SQLITE_QUALITY
         " samples, rows, running_ns, runnable_ns, cpu_ns, runqueue_ns,"
         " throttled_ns, throttled_periods, id) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"},
        {offsetof(struct spy_sqlite, add_samples), "INSERT INTO samples(window, data) VALUES(?,?)"},
    };
    int r = open_db(s->path, SQLITE_OPEN_READWRITE, &s->writer, err);
    if (r == 0)
        r = make_or_check_schema(s->writer, s->path, err);
    if (r == 0)
        r = spy_db_exec(s->writer, pragmas, err);
    for (size_t i = 0; i < SPY_COUNT(statements) && r == 0; i++)
        r = spy_db_prepare(s->writer, statements[i].sql,
                           (sqlite3_stmt **)((char *)s + statements[i].to), err);
    if (r == 0) {
        sqlite3_wal_hook(s->writer, note_wal, s);
        sqlite3_wal_checkpoint_v2(s->writer, NULL, SQLITE_CHECKPOINT_PASSIVE, &s->wal_pages, NULL);
    }
    if (r == 0)
        r = read_bounds(s, err);
    if (r == 0)
        r = bound_cache(s->writer, spy_min(s->memory / 8, WRITER_CACHE), err);
    return r < 0 ? r : spy_intern_new(s->writer, s->memory / 2, &s->intern, err);
}

static int open_reader(struct spy_sqlite *s, int i, struct spy_err *err)
{
    int r = open_db(s->path, SQLITE_OPEN_READWRITE, &s->readers[i], err);
    if (r == 0)
        r = spy_db_exec(s->readers[i], "PRAGMA query_only=1", err);
    if (r == 0)
        r = bound_cache(s->readers[i], spy_min(s->memory / 16, READER_CACHE), err);
    return r < 0 ? r : spy_db_add_glob(s->readers[i], err);
}

// Reads the WAL too, and leaves it as it is.
static int open_unchanged(struct spy_sqlite *s, sqlite3 **ret, struct spy_err *err)
{
    struct identity i = {0};
    int r = open_db(s->path, SQLITE_OPEN_READONLY, ret, err);
    if (r == 0)
        sqlite3_db_config(*ret, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    if (r == 0)
        r = read_identity(*ret, &i, err);
    return r < 0 ? r : check_db_identity(&i, s->path, err);
}

// If there was no WAL, such a connection has made an empty one, which is removed.
static void close_unchanged(struct spy_sqlite *s, sqlite3 **db)
{
    static const char *const made[] = {"-wal", "-shm"};
    sqlite3_close(*db);
    *db = NULL;
    for (size_t i = 0; i < SPY_COUNT(made) && !size_of_wal(s); i++) {
        char path[PATH_MAX];
        if (snprintf(path, sizeof path, "%s%s", s->path, made[i]) < (int)sizeof path)
            unlink(path);
    }
}

// --- the table of functions ---

static int check_write(struct spy_sqlite *s, struct spy_err *err)
{
    _cleanup_stmt_ sqlite3_stmt *q = NULL;
    int r = spy_db_prepare(s->writer, "REPLACE INTO checks(id, at_ns) VALUES(1, ?)", &q, err);
    if (r < 0)
        return r;
    sqlite3_bind_int64(q, 1, spy_db_time(spy_clock_real_ns()));
    return spy_db_run(s->writer, q, err);
}

// Commits a row, as a transaction that is rolled back would not notice a full disk. A small row may
// fit where a push did not, so recent failures count as well.
static int check_store_write(struct spy_store *store, struct spy_err *err)
{
    struct spy_sqlite *s = (struct spy_sqlite *)store;
    bool is_recent;
    int last = spy_batch_last_result(&s->queue, FAILED_NS, &is_recent);
    if (is_recent)
        return spy_err_set(err, last, 0, "the latest push could not be stored in %s", s->path);
    if (pthread_mutex_trylock(&s->write_lock) != 0)
        return last < 0 ? spy_err_set(err, last, 0, "the latest write to %s failed", s->path) : 0;
    int r = check_write(s, err);
    pthread_mutex_unlock(&s->write_lock);
    return r;
}

static void close_sqlite(struct spy_store *store)
{
    struct spy_sqlite *s = (struct spy_sqlite *)store;
    for (int i = 0; i < SPY_SQLITE_READERS; i++)
        sqlite3_close(s->readers[i]);
    spy_intern_free(s->intern);
    sqlite3_finalize(s->find_window);
    sqlite3_finalize(s->find_taken);
    sqlite3_finalize(s->add_window);
    sqlite3_finalize(s->add_samples);
    if (s->writer)
        spy_sqlite_close_writer(s);
    spy_cleanup_close(&s->db_fd);
    spy_cleanup_close(&s->lock_fd);
    spy_batch_queue_destroy(&s->queue);
    pthread_mutex_destroy(&s->write_lock);
    pthread_mutex_destroy(&s->reader_lock);
    pthread_cond_destroy(&s->reader_free);
    free(s->path);
    free(s);
}

static int get_retention_time(struct spy_store *store, uint64_t real_ns, uint64_t mono_ns,
                              uint64_t *ret_ns, struct spy_err *err)
{
    struct spy_sqlite *s = (struct spy_sqlite *)store;
    int64_t newest = 0, trusted = 0;
    char sql[96];
    pthread_mutex_lock(&s->write_lock);
    int r = spy_db_number(s->writer, "SELECT coalesce(max(end_ns), 0) FROM windows", &newest, err);
    if (r == 0 && !s->clock.trusted_ns)
        r = spy_db_number(s->writer, "SELECT coalesce(max(at_ns), 0) FROM checks WHERE id=2",
                          &trusted, err);
    if (r == 0) {
        *ret_ns = spy_retention_now(&s->clock, real_ns, mono_ns,
                                    (uint64_t)(newest > trusted ? newest : trusted));
        snprintf(sql, sizeof sql, "REPLACE INTO checks(id, at_ns) VALUES(2, %lld)",
                 (long long)spy_db_time(s->clock.trusted_ns));
        spy_db_exec(s->writer, sql, NULL); // on a full disk it is lost at the end
    }
    pthread_mutex_unlock(&s->write_lock);
    return r;
}

static void keep_levels(struct spy_store *store, const struct spy_store_levels *levels)
{
    struct spy_sqlite *s = (struct spy_sqlite *)store;
    pthread_mutex_lock(&s->write_lock);
    s->levels = *levels;
    pthread_mutex_unlock(&s->write_lock);
}

static struct spy_sqlite *new_store(const char *dir, uint32_t max_series, size_t memory)
{
    struct spy_sqlite *s = calloc(1, sizeof *s);
    spy_sqlite_keep_index();
    if (!s)
        return NULL;
    s->base.backend = &spy_store_sqlite;
    s->max_series = max_series;
    s->memory = memory;
    s->lock_fd = s->db_fd = -1;
    if (spy_random_bytes(&s->digest_key, sizeof s->digest_key) < 0)
        s->digest_key = spy_clock_mono_ns();
    spy_batch_queue_init(&s->queue, GROUP_BYTES);
    pthread_mutex_init(&s->write_lock, NULL);
    pthread_mutex_init(&s->reader_lock, NULL);
    pthread_cond_init(&s->reader_free, NULL);
    if (asprintf(&s->path, "%s/podspy.db", dir) >= 0)
        return s;
    s->path = NULL;
    close_sqlite(&s->base);
    return NULL;
}

// A file that is damaged from its first page on is not a store.
static int fail_open(sqlite3 *db, int r, struct spy_err *err)
{
    if (db && spy_db_is_damaged(db))
        r = SPY_ERR_INVALID;
    if (err)
        err->code = r;
    return r;
}

static int open_sqlite(const char *dir, uint32_t max_series, size_t memory, struct spy_store **ret,
                       struct spy_err *err)
{
    struct spy_sqlite *s = new_store(dir, max_series, memory);
    if (!s)
        return spy_err_nomem(err);
    int r = lock_and_touch(s, dir, err);
    if (r == 0)
        r = open_writer(s, err);
    for (int i = 0; i < SPY_SQLITE_READERS && r == 0; i++)
        r = open_reader(s, i, err);
    if (r < 0) {
        r = fail_open(s->writer, r, err);
        remove_unfinished(s);
        close_sqlite(&s->base);
        return r;
    }
    *ret = &s->base;
    return 0;
}

static int verify_folder(const char *dir, struct spy_err *err)
{
    struct spy_sqlite *s = new_store(dir, 0, SPY_STORE_MEMORY_MAX);
    if (!s)
        return spy_err_nomem(err);
    int r = lock_and_touch(s, dir, err);
    if (r == 0)
        r = open_unchanged(s, &s->readers[0], err);
    if (r == 0)
        r = spy_sqlite_verify_db(s->readers[0], 0, err);
    else
        r = fail_open(s->readers[0], r, err);
    close_unchanged(s, &s->readers[0]);
    remove_unfinished(s);
    close_sqlite(&s->base);
    return r;
}

const struct spy_store_backend spy_store_sqlite = {
    .kind = "sqlite",
    .open = open_sqlite,
    .verify_dir = verify_folder,
    .close = close_sqlite,
    .append = spy_sqlite_append,
    .query = spy_sqlite_query,
    .windows = spy_sqlite_windows,
    .processes = spy_sqlite_processes,
    .expire = spy_sqlite_expire,
    .now = get_retention_time,
    .check = check_store_write,
    .verify = spy_sqlite_verify,
    .keep = keep_levels,
    .backup_dir = spy_sqlite_backup_dir,
};
