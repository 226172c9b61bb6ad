// verify.c - finds damage: what SQLite reports, ids without a row, samples that cannot be decoded.
#include "collector/store/sqlite/idmap.h"
#include "collector/store/sqlite/levels.h"
#include "collector/store/sqlite/rows.h"
#include "collector/store/sqlite/sqlite.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <string.h>

// Each selects rows that refer to missing rows.
static const struct reference {
    const char *sql, *what;
} references[] = {
    {"SELECT 1 FROM windows WHERE series NOT IN (SELECT id FROM series) LIMIT 1",
     "a window's series is missing"},
    {"SELECT 1 FROM windows WHERE rows > 0 AND id NOT IN (SELECT window FROM samples) LIMIT 1",
     "a window's samples are missing"},
    {"SELECT 1 FROM stacks WHERE frame NOT IN (SELECT id FROM frames) LIMIT 1",
     "a stack's frame is missing"},
    {"SELECT 1 FROM stacks WHERE parent <> 0 AND (parent >= id OR parent NOT IN (SELECT id FROM "
     "stacks)) LIMIT 1",
     "a stack has no way to the root"},
    {"SELECT 1 FROM frames WHERE function NOT IN (SELECT id FROM functions) LIMIT 1",
     "a frame's function is missing"},
    {"SELECT 1 FROM functions WHERE name NOT IN (SELECT id FROM strings) OR filename NOT IN "
     "(SELECT id FROM strings) LIMIT 1",
     "a function's name is missing"},
    {"SELECT 1 FROM threads WHERE name NOT IN (SELECT id FROM strings) LIMIT 1",
     "a thread's name is missing"},
};

static int is_late(void *until_ns)
{
    return spy_clock_mono_ns() > *(const uint64_t *)until_ns;
}

// Returns 1 if the time is over.
static int check_pages(sqlite3 *db, bool quick, struct spy_err *err)
{
    _cleanup_stmt_ sqlite3_stmt *q = NULL;
    int r =
        spy_db_prepare(db, quick ? "PRAGMA quick_check(1)" : "PRAGMA integrity_check(1)", &q, err);
    if (r < 0)
        return r;
    int code = sqlite3_step(q);
    if (code == SQLITE_INTERRUPT)
        return 1;
    if (code != SQLITE_ROW)
        return spy_db_failed(db, err, "looking for damage");
    const char *found = (const char *)sqlite3_column_text(q, 0);
    return found && !sqlite3_stricmp(found, "ok") ? 0 : spy_db_damaged(db, err, found);
}

static int check_references(sqlite3 *db, struct spy_err *err)
{
    for (size_t i = 0; i < SPY_COUNT(references); i++) {
        _cleanup_stmt_ sqlite3_stmt *q = NULL;
        int r = spy_db_prepare(db, references[i].sql, &q, err);
        if (r < 0)
            return r;
        int code = sqlite3_step(q);
        if (code == SQLITE_ROW)
            return spy_db_damaged(db, err, references[i].what);
        if (code != SQLITE_DONE)
            return spy_db_failed(db, err, "looking for damage");
    }
    return 0;
}

// Caches the ids that were found, up to a bound.
static int check_id(sqlite3 *db, sqlite3_stmt *borrowed, struct spy_idmap *known, int64_t id,
                    struct spy_err *err)
{
    const uint64_t key[3] = {(uint64_t)id, 0, 0};
    if (!id || spy_idmap_find(known, key))
        return 0;
    _cleanup_reset_ sqlite3_stmt *q = borrowed;
    sqlite3_bind_int64(q, 1, id);
    int code = sqlite3_step(q);
    if (code == SQLITE_DONE)
        return spy_db_damaged(db, err, "a sample's stack or thread is missing");
    if (code != SQLITE_ROW)
        return spy_db_failed(db, err, "looking for damage");
    return spy_idmap_add(known, key, 1, 0);
}

enum { STACKS, THREADS, N_IDS };

struct ids {
    sqlite3_stmt *find[N_IDS];
    struct spy_idmap known[N_IDS];
};

static int check_rows(sqlite3 *db, struct ids *ids, const uint8_t *data, size_t len,
                      uint64_t period_ns, int64_t n, struct spy_err *err)
{
    struct spy_rows_reader reader = {
        .at = data, .end = data ? data + len : NULL, .period_ns = period_ns};
    struct spy_row row;
    int64_t rows = 0;
    int more, r = 0;
    while ((more = spy_rows_next(&reader, &row)) > 0 && r == 0) {
        r = check_id(db, ids->find[STACKS], &ids->known[STACKS], row.stack, err);
        if (r == 0)
            r = check_id(db, ids->find[THREADS], &ids->known[THREADS], row.thread, err);
        rows++;
    }
    if (r == 0 && (more < 0 || rows != n))
        r = spy_db_damaged(db, err, "samples cannot be read");
    return r;
}

static int check_samples(sqlite3 *db, struct ids *ids, struct spy_err *err)
{
    _cleanup_stmt_ sqlite3_stmt *q = NULL;
    int code = SQLITE_DONE;
    int r = spy_db_prepare(
        db, "SELECT s.data, w.period_ns, w.rows FROM samples s JOIN windows w ON w.id = s.window",
        &q, err);
    while (r == 0 && (code = sqlite3_step(q)) == SQLITE_ROW)
        r = check_rows(db, ids, sqlite3_column_blob(q, 0), (size_t)sqlite3_column_bytes(q, 0),
                       (uint64_t)sqlite3_column_int64(q, 1), sqlite3_column_int64(q, 2), err);
    return r == 0 && code != SQLITE_DONE ? spy_db_failed(db, err, "looking for damage") : r;
}

static int check_rollups(sqlite3 *db, struct ids *ids, struct spy_err *err)
{
    static const struct spy_source source = {.level = SPY_LEVEL_MINUTES};
    const struct spy_select all = {.until_ns = UINT64_MAX};
    _cleanup_stmt_ sqlite3_stmt *q = NULL;
    int code = SQLITE_DONE, r = spy_source_select(db, &source, &all, "", &q, err);
    while (r == 0 && (code = sqlite3_step(q)) == SQLITE_ROW) {
        struct spy_source_row row;
        r = spy_source_read(db, q, &source, &row, err);
        if (r == 0)
            r = check_rows(db, ids, row.data, row.len, row.sums.series.period_ns, row.rows, err);
    }
    return r == 0 && code != SQLITE_DONE ? spy_db_failed(db, err, "looking for damage") : r;
}

// The minutes of a series' hour, beside the hour.
struct hour {
    int64_t series, bucket;
    struct spy_sums minutes, hours;
};

static int check_hour(sqlite3 *db, const struct hour *h, struct spy_err *err)
{
    bool same = h->minutes.windows == h->hours.windows && h->minutes.samples == h->hours.samples &&
                !memcmp(&h->minutes.series.quality, &h->hours.series.quality,
                        sizeof h->hours.series.quality);
    return same ? 0 : spy_db_damaged(db, err, "an hour is not the sum of its minutes");
}

// Where all minutes of an hour are kept, they sum up to it.
static int check_sums(sqlite3 *db, struct spy_err *err)
{
    _cleanup_stmt_ sqlite3_stmt *q = NULL;
    struct hour at = {0};
    int code = SQLITE_DONE;
    int r = spy_db_prepare(
        db,
        "SELECT series, CASE level WHEN 1 THEN bucket / 60 ELSE bucket END AS hour, level, sums"
        " FROM rollups WHERE level IN (1, 2) AND CASE level WHEN 1 THEN bucket / 60 ELSE bucket END"
        " * 3600000000000 >= (SELECT dropped FROM levels WHERE level = 1) ORDER BY series, hour",
        &q, err);
    while (r == 0 && (code = sqlite3_step(q)) == SQLITE_ROW) {
        struct hour next = {.series = sqlite3_column_int64(q, 0),
                            .bucket = sqlite3_column_int64(q, 1)};
        struct spy_sums sums;
        if (next.series != at.series || next.bucket != at.bucket) {
            r = check_hour(db, &at, err);
            at = next;
        }
        if (r == 0 && spy_sums_decode(sqlite3_column_blob(q, 3), (size_t)sqlite3_column_bytes(q, 3),
                                      &sums) < 0)
            r = spy_db_damaged(db, err, "a roll-up's sums cannot be read");
        if (r == 0)
            spy_sums_add(sqlite3_column_int64(q, 2) == 1 ? &at.minutes : &at.hours, &sums);
    }
    if (r == 0 && code != SQLITE_DONE)
        r = spy_db_failed(db, err, "looking for damage");
    return r == 0 ? check_hour(db, &at, err) : r;
}

// Earlier versions have no roll-ups.
static int check_levels(sqlite3 *db, struct ids *ids, struct spy_err *err)
{
    _cleanup_stmt_ sqlite3_stmt *q = NULL;
    int64_t tables = 0;
    int r = spy_db_number(db, "SELECT count(*) FROM sqlite_master WHERE name = 'rollups'", &tables,
                          err);
    if (r == 0 && tables)
        r = spy_db_prepare(
            db, "SELECT 1 FROM rollups WHERE series NOT IN (SELECT id FROM series) LIMIT 1", &q,
            err);
    if (r < 0 || !tables)
        return r;
    int code = sqlite3_step(q);
    if (code == SQLITE_ROW)
        return spy_db_damaged(db, err, "a roll-up's series is missing");
    if (code != SQLITE_DONE)
        return spy_db_failed(db, err, "looking for damage");
    r = check_sums(db, err);
    return r == 0 ? check_rollups(db, ids, err) : r;
}

static int check_all_samples(sqlite3 *db, struct spy_err *err)
{
    enum { KNOWN_MAX = 1 << 20 };
    static const char *const sql[N_IDS] = {"SELECT 1 FROM stacks WHERE id=?",
                                           "SELECT 1 FROM threads WHERE id=?"};
    struct ids ids = {.known = {{.max = KNOWN_MAX}, {.max = KNOWN_MAX}}};
    int r = 0;
    for (int i = 0; i < N_IDS && r == 0; i++)
        r = spy_db_prepare(db, sql[i], &ids.find[i], err);
    if (r == 0)
        r = check_samples(db, &ids, err);
    if (r == 0)
        r = check_levels(db, &ids, err);
    for (int i = 0; i < N_IDS; i++) {
        sqlite3_finalize(ids.find[i]);
        spy_idmap_free(&ids.known[i]);
    }
    return r;
}

int spy_sqlite_verify_db(sqlite3 *db, unsigned max_secs, struct spy_err *err)
{
    uint64_t until_ns = spy_clock_mono_ns() + max_secs * SPY_NS_PER_SEC;
    if (max_secs)
        sqlite3_progress_handler(db, 1000, is_late, &until_ns);
    int r = check_pages(db, max_secs != 0, err);
    if (r == 0 && !max_secs)
        r = check_references(db, err);
    if (r == 0 && !max_secs)
        r = check_all_samples(db, err);
    sqlite3_progress_handler(db, 0, NULL, NULL);
    return r < 0 ? r : 0;
}

int spy_sqlite_verify(struct spy_store *store, unsigned max_secs, struct spy_err *err)
{
    struct spy_sqlite *s = (struct spy_sqlite *)store;
    struct spy_err mine = {0};
    sqlite3 *db = spy_sqlite_take_reader(s, &mine);
    int r = db ? spy_sqlite_verify_db(db, max_secs, &mine) : mine.code;
    if (db)
        spy_sqlite_give_reader(s, db);
    if (r < 0 && err)
        *err = mine;
    return r;
}
