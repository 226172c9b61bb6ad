// append.c - a group of batches is stored in one transaction.
#include "collector/store/batch.h"
#include "collector/store/sqlite/intern.h"
#include "collector/store/sqlite/rows.h"
#include "collector/store/sqlite/schema.h"
#include "collector/store/sqlite/sqlite.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

// SQLite holds a value in memory; a window is refused before it is.
enum { WINDOW_BYTES_MAX = 256 << 20 };

static int encode_samples(struct spy_sqlite *s, const struct spy_profile *p,
                          const struct spy_digest *digests, struct spy_buf *out,
                          struct spy_err *err)
{
    uint32_t n = spy_profile_n_samples(p);
    _cleanup_free_ struct spy_row *rows = reallocarray(NULL, (size_t)n + 1, sizeof *rows);
    if (!rows)
        return spy_err_nomem(err);
    for (uint32_t i = 0; i < n; i++) {
        const struct spy_sample *sample = spy_profile_sample_at(p, i);
        rows[i] =
            (struct spy_row){.state = sample->state, .count = sample->count, .ns = sample->ns};
        int r = spy_intern_stack(s->intern, sample->stack, digests, &rows[i].stack, err);
        if (r == 0)
            r = spy_intern_thread(s->intern, sample->thread, &rows[i].thread, err);
        if (r < 0)
            return r;
    }
    spy_rows_encode(rows, n, spy_profile_series_get(p, 0)->period_ns, out);
    return out->failed ? spy_err_set(err, out->failed, 0, "a window does not fit in memory") : 0;
}

// Unknown sums are NULL.
static void bind_counted(sqlite3_stmt *q, int first, const struct spy_account *a)
{
    for (int c = 0; c < SPY_COUNTERS; c++)
        if (spy_account_knows(a, c))
            sqlite3_bind_int64(q, first + c, (int64_t)a->counted[c].sum);
        else
            sqlite3_bind_null(q, first + c);
}

static int insert_window(struct spy_sqlite *s, const struct spy_profile *p, int64_t series,
                         int64_t *ret, struct spy_err *err)
{
    const struct spy_series *w = spy_profile_series_get(p, 0);
    uint64_t samples = 0;
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++)
        samples = spy_add_sat(samples, spy_profile_sample_at(p, i)->count);
    const int64_t values[] = {
        series,
        spy_db_time(w->start_ns),
        spy_db_time(spy_add_sat(w->start_ns, w->duration_ns)),
        (int64_t)w->period_ns,
#define VALUE(name, ...) (int64_t) w->quality.name,
        SPY_QUALITY(VALUE)
#undef VALUE
            (int64_t) samples,
        spy_profile_n_samples(p),
        (int64_t)w->account.running_ns,
        (int64_t)w->account.runnable_ns,
    };
    sqlite3_bind_blob(s->add_window, 1, w->profile_id, sizeof w->profile_id, SQLITE_STATIC);
    for (size_t i = 0; i < SPY_COUNT(values); i++)
        sqlite3_bind_int64(s->add_window, (int)i + 2, values[i]);
    bind_counted(s->add_window, (int)SPY_COUNT(values) + 2, &w->account);
    sqlite3_bind_int64(s->add_window, (int)SPY_COUNT(values) + 2 + SPY_COUNTERS, s->next_window);
    int r = spy_db_run(s->writer, s->add_window, err);
    sqlite3_bind_null(s->add_window, 1);
    if (r == 0)
        *ret = s->next_window++;
    return r;
}

static int find_id_with(struct spy_sqlite *s, sqlite3_stmt *borrowed, const uint8_t id[16],
                        int64_t end_ns, struct spy_err *err)
{
    _cleanup_reset_ sqlite3_stmt *q = borrowed;
    sqlite3_bind_blob(q, 1, id, 16, SQLITE_STATIC);
    if (q == s->find_taken)
        sqlite3_bind_int64(q, 2, end_ns / (int64_t)SPY_SCHEMA_DAY_NS);
    int code = sqlite3_step(q);
    return code == SQLITE_ROW    ? 1
           : code == SQLITE_DONE ? 0
                                 : spy_db_failed(s->writer, err, "looking up a profile_id");
}

// Returns 1 if the window is there, or was dropped and is in the roll-ups.
static int find_profile_id(struct spy_sqlite *s, const uint8_t id[16], int64_t end_ns,
                           struct spy_err *err)
{
    int r = find_id_with(s, s->find_window, id, end_ns, err);
    return r == 0 && end_ns < s->taken_until ? find_id_with(s, s->find_taken, id, end_ns, err) : r;
}

// *ret_known: whether it was stored before.
static int store_profile(struct spy_sqlite *s, const struct spy_profile *p,
                         const struct spy_digest *digests, bool *ret_known, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf data = SPY_BUF_INIT(WINDOW_BYTES_MAX);
    const struct spy_series *w = spy_profile_series_get(p, 0);
    int64_t end = spy_db_time(spy_add_sat(w->start_ns, w->duration_ns));
    int64_t series, window = 0;
    int r = find_profile_id(s, w->profile_id, end, err);
    *ret_known = r > 0;
    if (r)
        return r < 0 ? r : 0;
    r = spy_intern_begin(s->intern, p, (uint32_t)((uint64_t)end / SPY_SCHEMA_SLICE_NS), err);
    if (r == 0)
        r = spy_intern_series(s->intern, s->max_series, &series, err);
    if (r == 0)
        r = encode_samples(s, p, digests, &data, err);
    if (r == 0)
        r = insert_window(s, p, series, &window, err);
    if (r < 0 || !data.len)
        return r;
    sqlite3_bind_int64(s->add_samples, 1, window);
    sqlite3_bind_blob64(s->add_samples, 2, data.data, data.len, SQLITE_STATIC);
    r = spy_db_run(s->writer, s->add_samples, err);
    sqlite3_bind_null(s->add_samples, 2);
    return r;
}

// A batch that fails leaves nothing behind and does not affect the others of its group, unless SQLite
// rolled back the whole transaction (the disk is full): then the error is returned.
static int store_batch(struct spy_sqlite *s, struct spy_batch *b)
{
    spy_intern_mark(s->intern);
    int r = spy_db_exec(s->writer, "SAVEPOINT batch", &b->err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < b->n && r == 0; i++) {
        bool known;
        r = store_profile(s, b->profiles[i], b->prepared[i], &known, &b->err);
        b->known += known;
        if (b->is_known)
            b->is_known[i] = known;
    }
    b->result = r;
    if (r == 0)
        return spy_db_exec(s->writer, "RELEASE batch", &b->err);
    if (spy_intern_is_dirty(s->intern))
        spy_intern_forget(s->intern);
    if (sqlite3_get_autocommit(s->writer))
        return r;
    return spy_db_exec(s->writer, "ROLLBACK TO batch; RELEASE batch", &b->err);
}

static void fail_all(struct spy_sqlite *s, struct spy_batch *group, int r,
                     const struct spy_err *err)
{
    if (!sqlite3_get_autocommit(s->writer))
        spy_db_exec(s->writer, "ROLLBACK", NULL);
    spy_intern_forget(s->intern);
    for (struct spy_batch *b = group; b; b = b->next) {
        b->result = r;
        b->err = *err;
    }
}

static void begin_group(struct spy_batch *group)
{
    for (struct spy_batch *b = group; b; b = b->next) {
        b->known = 0;
        b->result = 0;
        b->err = (struct spy_err){0};
    }
}

// Writes the batches in one transaction. *ret_full: a batch reached the bound of the database. A full
// disk fails all of them.
static int write_once(struct spy_sqlite *s, struct spy_batch *group, bool may_retry, bool *ret_full,
                      struct spy_err *err)
{
    int64_t pages = 0;
    begin_group(group);
    int r = spy_db_number(s->writer, "PRAGMA page_count", &pages, err);
    if (r == 0)
        r = spy_db_exec(s->writer, "BEGIN IMMEDIATE", err);
    *ret_full = false;
    for (struct spy_batch *b = group; b && r == 0 && !*ret_full; b = b->next) {
        r = store_batch(s, b);
        if (r < 0)
            *err = b->err;
        *ret_full = spy_batch_is_out_of_space(b->result, &b->err) && may_retry &&
                    spy_sqlite_is_at_bound(s, b->bytes);
    }
    if (r == 0 && !*ret_full)
        r = spy_sqlite_hold_database(s, pages, err);
    if (r == 0 && !*ret_full)
        r = spy_db_exec(s->writer, "COMMIT", err);
    if (r < 0 || *ret_full)
        fail_all(s, group, r < 0 ? r : SPY_ERR_LIMIT, err);
    return r;
}

// If the database is at its bound, drops the oldest windows and tries again, once.
static int write_or_make_room(struct spy_sqlite *s, struct spy_batch *group, struct spy_err *err)
{
    bool full = false;
    int r = write_once(s, group, true, &full, err);
    if (full) {
        spy_sqlite_make_room(s);
        r = write_once(s, group, false, &full, err);
    }
    spy_sqlite_bound_wal(s);
    return r;
}

// On a full disk, a batch can still be stored if it fits into the free pages of the database.
static void write_each(struct spy_sqlite *s, struct spy_batch *group)
{
    for (struct spy_batch *b = group, *next; b; b = next) {
        struct spy_err err = {0};
        next = b->next;
        b->next = NULL;
        write_or_make_room(s, b, &err);
        b->next = next;
    }
}

// SQLite has one error for both, but what to do differs.
static void explain_full(struct spy_sqlite *s, struct spy_batch *group)
{
    for (struct spy_batch *b = group; b; b = b->next)
        if (!spy_batch_is_out_of_space(b->result, &b->err))
            continue;
        else if (spy_sqlite_is_at_bound(s, b->bytes))
            spy_err_set(&b->err, SPY_ERR_LIMIT, 0, "the store has reached retention.max_gib");
        else
            spy_err_set(&b->err, SPY_ERR_LIMIT, ENOSPC, "the disk of %s is full", s->path);
}

static void write_group(void *store, struct spy_batch *group)
{
    struct spy_sqlite *s = store;
    struct spy_err err = {0};
    pthread_mutex_lock(&s->write_lock);
    int r = write_or_make_room(s, group, &err);
    if (spy_batch_is_out_of_space(r, &err) && group->next)
        write_each(s, group);
    spy_batch_note(&s->queue, group);
    explain_full(s, group);
    pthread_mutex_unlock(&s->write_lock);
}

static void free_digests(struct spy_batch *b)
{
    for (size_t i = 0; b->prepared && i < b->n; i++)
        free(b->prepared[i]);
    free(b->prepared);
}

// What can be done before it is this batch's turn to be written.
static int prepare_batch(struct spy_sqlite *s, struct spy_batch *b, struct spy_err *err)
{
    b->prepared = calloc(b->n + 1, sizeof *b->prepared);
    int r = b->prepared ? 0 : spy_err_nomem(err);
    for (size_t i = 0; i < b->n && r == 0; i++) {
        r = spy_batch_check_profile(b->profiles[i], err);
        b->bytes += spy_profile_memory(b->profiles[i]);
        struct spy_digest *digests = NULL;
        if (r == 0 && spy_digest_stacks(b->profiles[i], s->digest_key, &digests) < 0)
            r = spy_err_nomem(err);
        b->prepared[i] = digests;
    }
    return r;
}

int spy_sqlite_append(struct spy_store *store, struct spy_profile *const *profiles, size_t n,
                      size_t *ret_known, bool *ret_is_known, struct spy_err *err)
{
    struct spy_sqlite *s = (struct spy_sqlite *)store;
    struct spy_batch b = {.profiles = profiles, .n = n, .is_known = ret_is_known};
    int r = prepare_batch(s, &b, err);
    if (r == 0)
        r = spy_batch_write(&s->queue, &b, write_group, s, err);
    free_digests(&b);
    if (r == 0)
        *ret_known = b.known;
    return r;
}
