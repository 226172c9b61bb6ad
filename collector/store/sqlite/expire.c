// expire.c - retention. It works in small transactions and releases the lock between them, so that
// appenders wait for one part and not for all.
//
// Freed pages are used again; the file shrinks only when more than an eighth of it is free, by
// SHRINK_PAGES a call. Database and WAL share max_bytes (spy_sqlite_room): max_page_count bounds the
// database, and expiry keeps the windows within 15 sixteenths of it. An append that finds no page
// drops windows itself, so it need not wait for the next call.
//
// Where roll-ups are kept, windows are rolled up before they are dropped by age, and each level is
// dropped by its own age. For size, the level is dropped whose oldest data are nearest to that age,
// so that all levels keep the same share of their time.
#include "collector/store/sqlite/intern.h"
#include "collector/store/sqlite/levels.h"
#include "collector/store/sqlite/schema.h"
#include "collector/store/sqlite/sqlite.h"
#include "shared/base/mem.h"
#include <inttypes.h>
#include <stdio.h>

enum {
    PART_AGED = 500,
    PART_FIT = 50,
    PART_ROWS = 20000,
    SHRINK_PART = 512,
    SHRINK_PAGES = 8192,
    SPARE_PAGES = 64, // that a deletion may need
};

struct pages {
    int64_t total, unused, size;
};

static int count_pages(sqlite3 *db, struct pages *ret, struct spy_err *err)
{
    int r = spy_db_number(db, "PRAGMA page_count", &ret->total, err);
    if (r == 0)
        r = spy_db_number(db, "PRAGMA freelist_count", &ret->unused, err);
    if (r == 0)
        r = spy_db_number(db, "PRAGMA page_size", &ret->size, err);
    return r;
}

// Deleting can itself need a page or two, so the bound is SPARE_PAGES higher while it runs.
static int bound_pages(sqlite3 *db, uint64_t pages, struct spy_err *err)
{
    char sql[64];
    pages = pages < 16 ? 16 : pages > UINT32_MAX - 1 ? UINT32_MAX - 1 : pages;
    snprintf(sql, sizeof sql, "PRAGMA max_page_count=%" PRIu64, pages);
    return spy_db_exec(db, sql, err);
}

struct steps {
    const char *sql[4];
    size_t n;
};

// Runs the steps in one transaction. ?1 is value, ?2 the part; *ret_deleted is the last step's.
static int delete_part(struct spy_sqlite *s, const struct steps *steps, int64_t value, int64_t part,
                       int64_t *ret_deleted, struct spy_err *err)
{
    sqlite3 *db = s->writer;
    int64_t deleted = 0;
    int r = spy_db_exec(db, "BEGIN IMMEDIATE", err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < steps->n && r == 0; i++) {
        _cleanup_stmt_ sqlite3_stmt *q = NULL;
        r = spy_db_prepare(db, steps->sql[i], &q, err);
        if (r < 0)
            break;
        int params = sqlite3_bind_parameter_count(q);
        if (params > 0)
            sqlite3_bind_int64(q, 1, value);
        if (params > 1)
            sqlite3_bind_int64(q, 2, part);
        r = spy_db_run(db, q, err);
        deleted = sqlite3_changes64(db);
    }
    if (r == 0)
        r = spy_db_exec(db, "COMMIT", err);
    if (r < 0 && !sqlite3_get_autocommit(db))
        spy_db_exec(db, "ROLLBACK", NULL);
    if (r == 0)
        *ret_deleted = deleted;
    return r;
}

// On a full disk the WAL has only the room held for it (room.c). If a part does not fit, the WAL is
// restarted and a smaller part is tried.
static bool make_smaller(struct spy_sqlite *s, int64_t *part)
{
    if (*part == 1 && !s->wal_pages)
        return false;
    spy_sqlite_restart_wal(s);
    *part = *part > 4 ? *part / 4 : 1;
    return true;
}

static int delete_retrying(struct spy_sqlite *s, const struct steps *steps, int64_t value,
                           int64_t *part, int64_t *ret_deleted, struct spy_err *err)
{
    int r;
    do
        r = delete_part(s, steps, value, *part, ret_deleted, err);
    while (r == SPY_ERR_LIMIT && make_smaller(s, part));
    return r;
}

static void let_others_write(struct spy_sqlite *s)
{
    spy_sqlite_bound_wal(s);
    pthread_mutex_unlock(&s->write_lock);
    pthread_mutex_lock(&s->write_lock);
}

// The oldest windows that end at `last_ns` or before, at most *part of them. Where there are
// roll-ups, only windows that are in them, and their profile ids stay.
static int drop_windows(struct spy_sqlite *s, int64_t last_ns, int64_t *part, int64_t *ret_dropped,
                        struct spy_err *err)
{
#define OLDEST "(SELECT id FROM windows WHERE end_ns <= ?1 ORDER BY end_ns, id LIMIT ?2)"
#define ROLLED                                                                                     \
    "(SELECT id FROM windows WHERE end_ns <= ?1 AND id <= (SELECT done FROM levels WHERE level = " \
    "0) ORDER BY end_ns, id LIMIT ?2)"
    static const struct steps windows = {
        {"DELETE FROM samples WHERE window IN " OLDEST, "DELETE FROM windows WHERE id IN " OLDEST},
        2};
    static const struct steps rolled = {
        {"UPDATE levels SET dropped = max(dropped, coalesce((SELECT max(end_ns) + 1 FROM windows"
         " WHERE id IN " ROLLED "), 0)) WHERE level = 0",
         "INSERT OR IGNORE INTO taken SELECT end_ns / 86400000000000, profile_id FROM windows"
         " WHERE id IN " ROLLED,
         "DELETE FROM samples WHERE window IN " ROLLED, "DELETE FROM windows WHERE id IN " ROLLED},
        4};
    if (!s->levels.hours_ns)
        return delete_retrying(s, &windows, last_ns, part, ret_dropped, err);
    int r = delete_retrying(s, &rolled, last_ns, part, ret_dropped, err);
    if (r == 0)
        r = spy_db_number(s->writer, "SELECT dropped FROM levels WHERE level = 0", &s->taken_until,
                          err);
    // Where windows cannot be rolled up, as the disk is full, they go nevertheless.
    return r == 0 && !*ret_dropped && s->has_no_room
               ? delete_retrying(s, &windows, last_ns, part, ret_dropped, err)
               : r;
#undef OLDEST
#undef ROLLED
}

// The oldest roll-ups of buckets below `end`.
static int drop_rollups(struct spy_sqlite *s, int level, int64_t end, int64_t *part,
                        int64_t *ret_dropped, struct spy_err *err)
{
#define OLDEST(level)                                                                              \
    "(SELECT id FROM rollups WHERE level = " #level " AND bucket < ?1 ORDER BY bucket LIMIT ?2)"
    static const struct steps minutes = {
        {"UPDATE levels SET dropped = max(dropped, coalesce((SELECT (max(bucket) + 1) *"
         " 60000000000 FROM rollups WHERE id IN " OLDEST(1) "), 0)) WHERE level = 1",
         "DELETE FROM rollups WHERE id IN " OLDEST(1)},
        2};
    static const struct steps hours = {{"DELETE FROM rollups WHERE id IN " OLDEST(2)}, 1};
#undef OLDEST
    return delete_retrying(s, level == SPY_LEVEL_HOURS ? &hours : &minutes, end, part, ret_dropped,
                           err);
}

static int drop_aged_rollups(struct spy_sqlite *s, uint64_t now_ns, struct spy_err *err)
{
    const uint64_t ages[SPY_LEVELS] = {0, s->levels.minutes_ns, s->levels.hours_ns};
    int r = 0;
    for (int level = SPY_LEVEL_MINUTES; level < SPY_LEVELS && r == 0; level++) {
        int64_t part = PART_AGED, dropped = part;
        int64_t before = now_ns > ages[level] ? spy_db_time(now_ns - ages[level]) : 0;
        while (r == 0 && ages[level] && dropped >= part) {
            r = drop_rollups(s, level, before / spy_level_ns(level), &part, &dropped, err);
            let_others_write(s);
        }
    }
    return r;
}

// Profile ids of windows so old that ingest takes them no more.
static int drop_taken(struct spy_sqlite *s, uint64_t now_ns, struct spy_err *err)
{
    static const struct steps steps = {{"DELETE FROM taken WHERE (day, profile_id) IN (SELECT day,"
                                        " profile_id FROM taken WHERE day < ?1 LIMIT ?2)"},
                                       1};
    int64_t part = PART_ROWS, dropped = part;
    uint64_t age = spy_add_sat(s->levels.minutes_ns, SPY_SCHEMA_DAY_NS);
    int64_t before = now_ns > age ? spy_db_time(now_ns - age) : 0;
    int r = 0;
    while (r == 0 && dropped >= part) {
        r = delete_retrying(s, &steps, before / (int64_t)SPY_SCHEMA_DAY_NS, &part, &dropped, err);
        let_others_write(s);
    }
    return r;
}

static int drop_aged(struct spy_sqlite *s, int64_t last_ns, struct spy_err *err)
{
    int64_t part = PART_AGED, dropped = part;
    int r = 0;
    while (r == 0 && dropped >= part) {
        r = drop_windows(s, last_ns, &part, &dropped, err);
        let_others_write(s);
    }
    return r;
}

// The slice of the oldest window or roll-up: rows seen before it are garbage. EMPTY: there is none.
enum { EMPTY = UINT32_MAX / 2 };
static int oldest_slice(sqlite3 *db, uint32_t *ret, struct spy_err *err)
{
    int64_t ns;
    int r = spy_db_number(
        db,
        "SELECT coalesce(min(ns), -1) FROM"
        " (SELECT (SELECT end_ns FROM windows ORDER BY end_ns LIMIT 1) AS ns UNION ALL"
        "  SELECT (SELECT min(bucket) FROM rollups WHERE level = 1) * 60000000000 UNION ALL"
        "  SELECT (SELECT min(bucket) FROM rollups WHERE level = 2) * 3600000000000)",
        &ns, err);
    if (r == 0)
        *ret = ns < 0 ? EMPTY : (uint32_t)((uint64_t)ns / SPY_SCHEMA_SLICE_NS);
    return r;
}

// Deletes part by part. Each part determines again what is garbage, as an append in between may have
// stored an old window.
static int sweep_table(struct spy_sqlite *s, const struct steps *steps, int64_t *total,
                       struct spy_err *err)
{
    int64_t part = PART_ROWS, deleted = part;
    int r = 0;
    while (r == 0 && deleted >= part) {
        uint32_t slice;
        r = oldest_slice(s->writer, &slice, err);
        if (r == 0)
            r = delete_retrying(s, steps, slice, &part, &deleted, err);
        spy_intern_forget(s->intern); // it may hold ids of deleted rows
        if (r == 0) {
            *total += deleted;
            let_others_write(s);
        }
    }
    return r;
}

// Deletes rows that only dropped windows referred to. A stack whose parent was deleted by an earlier
// part is as old, so no window can need it, and the next part deletes it.
static int sweep_tables(struct spy_sqlite *s, struct spy_err *err)
{
    static const struct steps marked[] = {
        {{"DELETE FROM stacks WHERE id IN (SELECT id FROM stacks WHERE seen < ?1 LIMIT ?2)"}, 1},
        {{"DELETE FROM threads WHERE id IN (SELECT id FROM threads WHERE seen < ?1 LIMIT ?2)"}, 1},
        {{"DELETE FROM labels WHERE series IN (SELECT id FROM series WHERE seen < ?1 LIMIT ?2)",
          "DELETE FROM series WHERE id IN (SELECT id FROM series WHERE seen < ?1 LIMIT ?2)"},
         2},
    };
    // Each part determines again what nothing refers to: an append in between may use a row again.
    static const struct steps rest[] = {
        {{"DELETE FROM frames WHERE id IN (SELECT id FROM frames WHERE id NOT IN"
          " (SELECT frame FROM stacks) LIMIT ?2)"},
         1},
        {{"DELETE FROM functions WHERE id IN (SELECT id FROM functions WHERE id NOT IN"
          " (SELECT function FROM frames) LIMIT ?2)"},
         1},
        {{"DELETE FROM strings WHERE id IN (SELECT id FROM strings WHERE id NOT IN"
          " (SELECT name FROM functions UNION ALL SELECT filename FROM functions UNION ALL"
          " SELECT name FROM threads) LIMIT ?2)"},
         1},
    };
    int64_t swept = 0;
    uint32_t slice = 0;
    int r = oldest_slice(s->writer, &slice, err);
    if (r < 0 || slice <= s->swept)
        return r;
    for (size_t i = 0; i < SPY_COUNT(marked) && r == 0; i++)
        r = sweep_table(s, &marked[i], &swept, err);
    for (size_t i = 0; i < SPY_COUNT(rest) && r == 0 && swept; i++)
        r = sweep_table(s, &rest[i], &swept, err);
    if (r == 0)
        s->swept = slice == EMPTY ? 0 : slice;
    return r;
}

// The level whose oldest data are nearest to the age that they may reach. A roll-up stays while what
// it sums up is there: questions rely on it.
static int choose_level(struct spy_sqlite *s, int *ret, struct spy_err *err)
{
    static const char *const sql[SPY_LEVELS] = {
        "SELECT coalesce((SELECT end_ns FROM windows WHERE id <= (SELECT done FROM levels WHERE"
        " level = 0) ORDER BY end_ns LIMIT 1), -1)",
        "SELECT coalesce((SELECT min(bucket) FROM rollups WHERE level = 1) * 60000000000, -1)",
        "SELECT coalesce((SELECT min(bucket) FROM rollups WHERE level = 2) * 3600000000000, -1)"};
    const uint64_t ages[SPY_LEVELS] = {s->raw_ns, s->levels.minutes_ns, s->levels.hours_ns};
    double most = -1;
    int64_t newest = 0, oldest[SPY_LEVELS];
    int r = spy_db_number(s->writer,
                          "SELECT max(coalesce((SELECT max(end_ns) FROM windows), 0),"
                          " coalesce((SELECT max(bucket) + 1 FROM rollups WHERE level = 2), 0)"
                          " * 3600000000000)",
                          &newest, err);
    *ret = SPY_LEVEL_WINDOWS;
    for (int level = 0; level < SPY_LEVELS && r == 0; level++) {
        r = spy_db_number(s->writer, sql[level], &oldest[level], err);
        if (r < 0)
            return r;
        double share = (double)(newest - oldest[level]) / ((double)ages[level] + 1);
        if (oldest[level] >= 0 && share > most) {
            most = share;
            *ret = level;
        }
    }
    for (int at = *ret; r == 0 && at > SPY_LEVEL_WINDOWS; at--)
        if (oldest[at - 1] >= 0 && oldest[at - 1] < oldest[*ret] + spy_level_ns(*ret))
            *ret = at - 1;
    return r;
}

static int drop_oldest(struct spy_sqlite *s, int64_t *part, int64_t *ret_dropped,
                       struct spy_err *err)
{
    int level = SPY_LEVEL_WINDOWS;
    int r = s->levels.hours_ns ? choose_level(s, &level, err) : 0;
    if (r < 0)
        return r;
    if (level)
        return drop_rollups(s, level, INT64_MAX, part, ret_dropped, err);
    s->has_no_room = true;
    r = drop_windows(s, INT64_MAX, part, ret_dropped, err);
    s->has_no_room = false;
    return r;
}

// Drops the oldest data until no more than `most` pages are in use.
static int drop_to_size(struct spy_sqlite *s, uint64_t most, struct spy_err *err)
{
    int64_t part = PART_FIT, dropped = 1;
    int r = 0;
    while (r == 0 && dropped) {
        struct pages pages;
        r = count_pages(s->writer, &pages, err);
        if (r < 0 || (uint64_t)(pages.total - pages.unused) <= most)
            return r;
        r = drop_oldest(s, &part, &dropped, err);
        if (r == 0)
            r = sweep_tables(s, err);
        let_others_write(s);
    }
    return r;
}

bool spy_sqlite_is_at_bound(struct spy_sqlite *s, size_t bytes)
{
    enum { NEAR = 64 }; // pages that one statement may need at once
    struct pages pages;
    uint64_t most = spy_sqlite_room(s->max_bytes).database;
    uint64_t need = NEAR + spy_min(bytes / SPY_SQLITE_PAGE, most / 16);
    return s->max_bytes && count_pages(s->writer, &pages, NULL) == 0 &&
           (uint64_t)(pages.total - pages.unused) + need >= most;
}

bool spy_sqlite_make_room(struct spy_sqlite *s)
{
    uint64_t most = spy_sqlite_room(s->max_bytes).database;
    struct pages before = {0}, after = {0};
    bool ok = count_pages(s->writer, &before, NULL) == 0 &&
              bound_pages(s->writer, most + SPARE_PAGES, NULL) == 0 &&
              drop_to_size(s, most / 32 * 31, NULL) == 0 &&
              count_pages(s->writer, &after, NULL) == 0;
    bound_pages(s->writer, most, NULL);
    return ok && after.unused > before.unused;
}

// Returns free pages to the filesystem when there are many: part by part, as it moves pages. On a
// full disk they are kept for pushes.
static int shrink_file(struct spy_sqlite *s, struct spy_err *err)
{
    int64_t part = SHRINK_PART;
    int r = 0;
    for (int64_t left = SHRINK_PAGES; left > 0 && r == 0; left -= part) {
        struct pages pages;
        char sql[96];
        r = count_pages(s->writer, &pages, err);
        if (r < 0 || pages.unused <= pages.total / 8 || spy_sqlite_is_disk_low(s))
            return r;
        do
            snprintf(sql, sizeof sql, "PRAGMA incremental_vacuum(%" PRId64 ")", part);
        while ((r = spy_db_exec(s->writer, sql, err)) == SPY_ERR_LIMIT && make_smaller(s, &part));
        spy_sqlite_bound_wal(s);
    }
    return r;
}

// Without levels, the roll-ups that an earlier configuration made are dropped. First it is noted that
// no window is in them, so that no answer is made of what is left; a start that finds roll-ups beside
// that note drops the rest.
static int clear_rollups(struct spy_sqlite *s, struct spy_err *err)
{
    static const char *const left[] = {
        [true] = "SELECT done = 0 AND EXISTS(SELECT 1 FROM rollups) FROM levels WHERE level = 0",
        [false] = "SELECT done > 0 OR EXISTS(SELECT 1 FROM rollups) FROM levels WHERE level = 0"};
    int64_t part = PART_AGED, dropped = 0, any = 0;
    int r = spy_db_number(s->writer, left[s->levels.hours_ns != 0], &any, err);
    if (r < 0 || !any)
        return r;
    r = spy_db_exec(s->writer, "UPDATE levels SET done = 0, dropped = 0", err);
    for (int level = SPY_LEVEL_MINUTES; level < SPY_LEVELS && r == 0; level++)
        do {
            r = drop_rollups(s, level, INT64_MAX, &part, &dropped, err);
            let_others_write(s);
        } while (r == 0 && dropped);
    return r == 0 ? spy_db_exec(s->writer, "UPDATE levels SET dropped = 0", err) : r;
}

// Windows are rolled up before they are dropped. On a full disk that may need what is dropped.
static int roll_up_and_drop(struct spy_sqlite *s, int64_t last_ns, struct spy_err *err)
{
    int r = s->levels.hours_ns ? spy_sqlite_roll_up(s, err) : 0;
    bool full = r == SPY_ERR_LIMIT;
    if (r == 0 || full)
        r = drop_aged(s, last_ns, err);
    if (r < 0 || !full)
        return r;
    r = spy_sqlite_roll_up(s, err);
    s->has_no_room = r == SPY_ERR_LIMIT;
    if (r == 0 || s->has_no_room)
        r = drop_aged(s, last_ns, err);
    s->has_no_room = false;
    return r;
}

int spy_sqlite_expire(struct spy_store *store, uint64_t now_ns, uint64_t raw_ns, uint64_t max_bytes,
                      struct spy_err *err)
{
    struct spy_sqlite *s = (struct spy_sqlite *)store;
    uint64_t most = spy_sqlite_room(max_bytes).database;
    pthread_mutex_lock(&s->write_lock);
    s->max_bytes = max_bytes;
    s->raw_ns = raw_ns;
    spy_sqlite_hold_wal(s);
    spy_sqlite_hold_database(s, INT64_MAX, NULL);
    int r = bound_pages(s->writer, most + SPARE_PAGES, err);
    if (r == 0)
        r = clear_rollups(s, err);
    if (r == 0)
        r = roll_up_and_drop(s, now_ns > raw_ns ? spy_db_time(now_ns - raw_ns) - 1 : -1, err);
    if (r == 0 && s->levels.hours_ns)
        r = drop_aged_rollups(s, now_ns, err);
    if (r == 0 && s->levels.hours_ns)
        r = drop_taken(s, now_ns, err);
    if (r == 0)
        r = sweep_tables(s, err);
    if (r == 0)
        r = drop_to_size(s, most / 16 * 15, err);
    if (r == 0)
        r = shrink_file(s, err);
    int bound = bound_pages(s->writer, most, r == 0 ? err : NULL);
    spy_sqlite_bound_wal(s);
    pthread_mutex_unlock(&s->write_lock);
    return r < 0 ? r : bound;
}
