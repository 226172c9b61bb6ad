// query.c - turns selected windows and roll-ups into a profile: adds up the samples of a series, then
// maps their ids to ids of the answer.
#include "collector/store/sqlite/gather.h"
#include "collector/store/sqlite/idmap.h"
#include "collector/store/sqlite/levels.h"
#include "collector/store/sqlite/rows.h"
#include "collector/store/sqlite/sqlite.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include <stdlib.h>
#include <string.h>

enum { STRINGS, FUNCTIONS, FRAMES, STACKS, THREADS, SERIES, SAMPLES, N_TABLES };
static const char *const table_sql[N_TABLES] = {
    [STRINGS] = "SELECT text FROM strings WHERE id=?",
    [FUNCTIONS] = "SELECT name, filename, start_line, kind FROM functions WHERE id=?",
    [FRAMES] = "SELECT function, line FROM frames WHERE id=?",
    [STACKS] = "SELECT parent, frame FROM stacks WHERE id=?",
    [THREADS] = "SELECT tid, name FROM threads WHERE id=?",
    [SERIES] = "SELECT key, value FROM labels WHERE series=?",
    [SAMPLES] = "SELECT data FROM samples WHERE window=?",
};

struct answer {
    sqlite3 *db;
    struct spy_profile *into;
    struct spy_err *err;
    const struct spy_select *select;
    const bool *hurry;
    unsigned n_rows; // since the bounds were checked
    sqlite3_stmt *q[N_TABLES];
    struct spy_idmap ids[N_TABLES];
    struct step { // of a descent to the root
        int64_t id, frame;
    } * path;
    size_t path_cap;
    struct spy_gather gathered; // of this series
    uint32_t series;
};

static void query_done(struct answer *a)
{
    spy_gather_free(&a->gathered);
    for (int i = 0; i < N_TABLES; i++) {
        sqlite3_finalize(a->q[i]);
        spy_idmap_free(&a->ids[i]);
    }
    free(a->path);
}

static int fail_limit(struct answer *a, int r)
{
    return spy_err_set(a->err, r, 0,
                       r == SPY_ERR_LIMIT   ? "the answer is too large: narrow the selection"
                       : r == SPY_ERR_NOMEM ? "out of memory"
                                            : "the store holds an invalid value");
}

static bool is_mapped(struct answer *a, int table, int64_t id, uint32_t *ret)
{
    const struct spy_idmap_entry *e =
        spy_idmap_find(&a->ids[table], (uint64_t[3]){(uint64_t)id, 0, 0});
    if (e)
        *ret = (uint32_t)e->id;
    return e != NULL;
}

// r: the result of adding to the answer; ours: the id there.
static int map_id(struct answer *a, int table, int64_t id, int r, const uint32_t *ours)
{
    if (r == 0)
        r = spy_idmap_add(&a->ids[table], (uint64_t[3]){(uint64_t)id, 0, 0}, *ours, 0);
    return r < 0 ? fail_limit(a, r) : 0;
}

// Binds and steps to the one row that must exist.
static int step_to_row(struct answer *a, int table, int64_t id)
{
    sqlite3_stmt *q = a->q[table];
    sqlite3_bind_int64(q, 1, id);
    int code = sqlite3_step(q);
    if (code == SQLITE_ROW)
        return 0;
    return code == SQLITE_DONE ? spy_db_damaged(a->db, a->err, "a row is missing")
                               : spy_db_failed(a->db, a->err, "reading");
}

static int intern_column(struct answer *a, sqlite3_stmt *q, int column, uint32_t *ret)
{
    const char *text = (const char *)sqlite3_column_text(q, column);
    if (!text)
        return SPY_ERR_NOMEM;
    return spy_profile_string(a->into, text, (size_t)sqlite3_column_bytes(q, column), ret);
}

static int map_string_row(struct answer *a, int64_t id, uint32_t *ret)
{
    if (is_mapped(a, STRINGS, id, ret))
        return 0;
    _cleanup_reset_ sqlite3_stmt *q = a->q[STRINGS];
    int r = step_to_row(a, STRINGS, id);
    return r < 0 ? r : map_id(a, STRINGS, id, intern_column(a, q, 0, ret), ret);
}

static int map_function_row(struct answer *a, int64_t id, uint32_t *ret)
{
    if (is_mapped(a, FUNCTIONS, id, ret))
        return 0;
    _cleanup_reset_ sqlite3_stmt *q = a->q[FUNCTIONS];
    int r = step_to_row(a, FUNCTIONS, id);
    if (r < 0)
        return r;
    struct spy_function f = {.start_line = (uint32_t)sqlite3_column_int64(q, 2),
                             .kind = (uint32_t)sqlite3_column_int64(q, 3)};
    r = map_string_row(a, sqlite3_column_int64(q, 0), &f.name);
    if (r == 0)
        r = map_string_row(a, sqlite3_column_int64(q, 1), &f.filename);
    return r < 0 ? r : map_id(a, FUNCTIONS, id, spy_profile_function(a->into, &f, ret), ret);
}

static int map_frame_row(struct answer *a, int64_t id, uint32_t *ret)
{
    if (is_mapped(a, FRAMES, id, ret))
        return 0;
    _cleanup_reset_ sqlite3_stmt *q = a->q[FRAMES];
    int r = step_to_row(a, FRAMES, id);
    if (r < 0)
        return r;
    struct spy_frame f = {.line = (uint32_t)sqlite3_column_int64(q, 1)};
    r = map_function_row(a, sqlite3_column_int64(q, 0), &f.function);
    return r < 0 ? r : map_id(a, FRAMES, id, spy_profile_frame(a->into, f, ret), ret);
}

// Reads towards the root until a stack is mapped. A parent's id is smaller, so this ends even if the
// file is damaged.
static int descend_to_known(struct answer *a, int64_t id, size_t *ret_n, uint32_t *ret_known)
{
    size_t n = 0;
    for (*ret_known = 0; id && !is_mapped(a, STACKS, id, ret_known);) {
        _cleanup_reset_ sqlite3_stmt *q = a->q[STACKS];
        int r = step_to_row(a, STACKS, id);
        if (r < 0)
            return r;
        int64_t parent = sqlite3_column_int64(q, 0);
        if (parent < 0 || parent >= id)
            return spy_db_damaged(a->db, a->err, "a stack has no way to the root");
        r = spy_grow(&a->path, &a->path_cap, n + 1, sizeof *a->path, SIZE_MAX / 64);
        if (r < 0)
            return fail_limit(a, r);
        a->path[n++] = (struct step){id, sqlite3_column_int64(q, 1)};
        id = parent;
    }
    *ret_n = n;
    return 0;
}

static int map_stack_rows(struct answer *a, int64_t id, uint32_t *ret)
{
    size_t n = 0;
    uint32_t at = 0, frame;
    if (!id || is_mapped(a, STACKS, id, ret)) {
        *ret = id ? *ret : 0;
        return 0;
    }
    int r = descend_to_known(a, id, &n, &at);
    while (r == 0 && n--) {
        uint32_t parent = at;
        r = map_frame_row(a, a->path[n].frame, &frame);
        if (r == 0)
            r = map_id(a, STACKS, a->path[n].id, spy_profile_stack(a->into, parent, frame, &at),
                       &at);
    }
    if (r == 0)
        *ret = at;
    return r;
}

static int map_thread_row(struct answer *a, int64_t id, uint32_t *ret)
{
    if (!id || is_mapped(a, THREADS, id, ret)) {
        *ret = id ? *ret : 0;
        return 0;
    }
    _cleanup_reset_ sqlite3_stmt *q = a->q[THREADS];
    uint32_t name;
    int r = step_to_row(a, THREADS, id);
    if (r < 0)
        return r;
    uint64_t tid = (uint64_t)sqlite3_column_int64(q, 0);
    r = map_string_row(a, sqlite3_column_int64(q, 1), &name);
    return r < 0 ? r : map_id(a, THREADS, id, spy_profile_thread(a->into, tid, name, ret), ret);
}

static int map_series_row(struct answer *a, int64_t id, uint32_t *ret)
{
    struct spy_label labels[SPY_LABELS_MAX];
    size_t n = 0;
    int code, r = 0;
    if (is_mapped(a, SERIES, id, ret))
        return 0;
    _cleanup_reset_ sqlite3_stmt *q = a->q[SERIES];
    sqlite3_bind_int64(q, 1, id);
    while ((code = sqlite3_step(q)) == SQLITE_ROW && r == 0 && n < SPY_LABELS_MAX) {
        r = intern_column(a, q, 0, &labels[n].key);
        if (r == 0)
            r = intern_column(a, q, 1, &labels[n].value);
        n++;
    }
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return spy_db_failed(a->db, a->err, "reading");
    return map_id(a, SERIES, id, r < 0 ? r : spy_profile_series(a->into, labels, n, ret), ret);
}

static int check_bounds(struct answer *a)
{
    enum { ONE_IN = 1024 };
    if (++a->n_rows % ONE_IN)
        return 0;
    if (spy_stop_is_set(a->select->stop))
        return spy_err_set(a->err, SPY_ERR_GONE, 0, "the client has gone");
    if (spy_stop_is_set(a->hurry))
        return spy_err_set(a->err, SPY_ERR_AGAIN, 0,
                           "the store interrupted the query to restart its WAL");
    size_t memory = spy_profile_memory(a->into) + a->path_cap * sizeof *a->path +
                    spy_gather_memory(&a->gathered);
    for (int i = 0; i < N_TABLES; i++)
        memory += spy_idmap_memory(&a->ids[i]);
    return a->select->memory && memory > a->select->memory ? fail_limit(a, SPY_ERR_LIMIT) : 0;
}

// Adds what was gathered to the answer.
static int flush_gathered(struct answer *a)
{
    int r = 0;
    for (size_t i = 0; i < a->gathered.n && r == 0; i++) {
        const struct spy_row *row = &a->gathered.rows[i];
        uint32_t stack = 0, thread = 0;
        r = map_stack_rows(a, row->stack, &stack);
        if (r == 0)
            r = map_thread_row(a, row->thread, &thread);
        if (r < 0)
            return r;
        r = spy_profile_add(a->into, a->series, stack, thread, row->state, row->count, row->ns);
        r = r < 0 ? fail_limit(a, r) : check_bounds(a);
    }
    spy_gather_clear(&a->gathered);
    return r;
}

static int gather_row(struct answer *a, const struct spy_row *row)
{
    int r = spy_gather_add(&a->gathered, row);
    if (r == SPY_ERR_LIMIT) {
        r = flush_gathered(a);
        if (r < 0)
            return r;
        r = spy_gather_add(&a->gathered, row);
    }
    return r < 0 ? fail_limit(a, r) : check_bounds(a);
}

static int add_samples(struct answer *a, const struct spy_source_row *from)
{
    struct spy_rows_reader reader = {.at = from->data,
                                     .end = from->data ? from->data + from->len : NULL,
                                     .period_ns = from->sums.series.period_ns};
    struct spy_row row;
    int r = 0, more = 0;
    while (r == 0 && (more = spy_rows_next(&reader, &row)) > 0)
        r = gather_row(a, &row);
    return more < 0 ? spy_db_damaged(a->db, a->err, "samples cannot be read") : r;
}

static int add_window_samples(struct answer *a, struct spy_source_row *from)
{
    _cleanup_reset_ sqlite3_stmt *q = a->q[SAMPLES];
    int r = step_to_row(a, SAMPLES, from->window);
    if (r < 0)
        return r;
    from->data = sqlite3_column_blob(q, 0);
    from->len = (size_t)sqlite3_column_bytes(q, 0);
    return add_samples(a, from);
}

struct spy_quality spy_sqlite_quality(sqlite3_stmt *q, int first)
{
    struct spy_quality quality;
#define READ(name, ...) quality.name = (uint64_t)sqlite3_column_int64(q, first++);
    SPY_QUALITY(READ)
#undef READ
    return quality;
}

struct spy_account spy_sqlite_account(sqlite3_stmt *q, int first, uint64_t duration_ns)
{
    struct spy_account a = {.running_ns = (uint64_t)sqlite3_column_int64(q, first),
                            .runnable_ns = (uint64_t)sqlite3_column_int64(q, first + 1)};
    for (int c = 0; c < SPY_COUNTERS; c++)
        if (sqlite3_column_type(q, first + 2 + c) != SQLITE_NULL)
            a.counted[c] =
                (struct spy_counted){(uint64_t)sqlite3_column_int64(q, first + 2 + c), duration_ns};
    return a;
}

static int add_source_row(struct answer *a, const struct spy_source *source, sqlite3_stmt *q)
{
    struct spy_source_row row;
    uint32_t series;
    int r = spy_source_read(a->db, q, source, &row, a->err);
    if (r == 0)
        r = check_bounds(a);
    if (r == 0)
        r = map_series_row(a, row.series, &series);
    if (r == 0 && series != a->series)
        r = flush_gathered(a);
    if (r < 0)
        return r;
    a->series = series;
    spy_series_unite(spy_profile_series_at(a->into, series), &row.sums.series);
    if (!row.rows)
        return 0;
    return row.window ? add_window_samples(a, &row) : add_samples(a, &row);
}

static int count_rows(sqlite3 *db, const struct spy_select *select, const struct spy_source *source,
                      double *sum, struct spy_err *err)
{
    static const char *const sql[] = {"SELECT count(*) + total(w.rows) FROM windows w",
                                      "SELECT count(*) + total(w.rows) FROM rollups w"};
    _cleanup_stmt_ sqlite3_stmt *q = NULL;
    int r = spy_sqlite_select(db, sql[source->level > 0], select, source->where, &q, err);
    if (r < 0)
        return r;
    if (sqlite3_step(q) != SQLITE_ROW)
        return spy_db_failed(db, err, "counting");
    *sum += sqlite3_column_double(q, 0);
    return 0;
}

static int check_size(sqlite3 *db, const struct spy_select *select, const struct spy_plan *plan,
                      struct spy_err *err)
{
    double rows = 0;
    for (size_t i = 0; i < plan->n; i++) {
        int r = count_rows(db, select, &plan->sources[i], &rows, err);
        if (r < 0)
            return r;
    }
    size_t max = select->rows_max ? select->rows_max : SPY_STORE_READ_MAX;
    if (rows > (double)max)
        return spy_err_set(err, SPY_ERR_LIMIT, 0,
                           "%.0f samples are selected, and at most %zu can be merged: narrow the "
                           "time or the labels",
                           rows, max);
    return 0;
}

// Series by series, as samples are gathered.
static int add_source(struct answer *a, const struct spy_source *source)
{
    _cleanup_stmt_ sqlite3_stmt *q = NULL;
    int code = SQLITE_DONE;
    int r = spy_source_select_by_series(a->db, source, a->select, &q, a->err);
    while (r == 0 && (code = sqlite3_step(q)) == SQLITE_ROW)
        r = add_source_row(a, source, q);
    return r == 0 && code != SQLITE_DONE ? spy_db_failed(a->db, a->err, "reading") : r;
}

static int run_query(struct answer *a)
{
    struct spy_plan plan;
    int r = spy_plan_make(a->db, a->select, &plan, a->err);
    if (r == 0)
        r = check_size(a->db, a->select, &plan, a->err);
    for (int i = 0; i < N_TABLES && r == 0; i++)
        r = spy_db_prepare(a->db, table_sql[i], &a->q[i], a->err);
    for (size_t i = 0; i < plan.n && r == 0; i++)
        r = add_source(a, &plan.sources[i]);
    return r == 0 ? flush_gathered(a) : r;
}

int spy_sqlite_query(struct spy_store *store, const struct spy_select *select,
                     struct spy_profile *into, struct spy_err *err)
{
    struct spy_sqlite *s = (struct spy_sqlite *)store;
    struct spy_err mine = {0};
    sqlite3 *db = spy_sqlite_take_reader(s, &mine);
    struct answer a = {.db = db, .into = into, .err = &mine, .select = select, .hurry = &s->hurry};
    if (db)
        spy_sqlite_heed(s, db, select->stop);
    int r = db ? run_query(&a) : mine.code;
    query_done(&a);
    if (db)
        spy_sqlite_give_reader(s, db);
    return spy_sqlite_end_read(select, r, &mine, err);
}
