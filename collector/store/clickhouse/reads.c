// reads.c - where the answer to a question is: rows of hours, of minutes and of windows (levels.h).
#include "collector/store/clickhouse/levels.h"
#include "shared/base/mem.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SQL_BYTES = 4 << 10, READ_SECS = 60, PICKED_MAX = 256 << 20, PAIRS_MAX = 1 << 26 };
#define WINDOWS_BYTES    ((uint64_t)8 << 30)
#define PAIR_STRUCTURE   "series FixedString(16), bucket UInt32"
#define ROLLED_STRUCTURE PAIR_STRUCTURE ", windows UInt32"

struct span {
    uint64_t first, end; // of buckets
};

// A roll-up that the question may read.
struct pair {
    uint32_t bucket, windows;
    bool is_dirty; // there are more windows
};

struct pairs {
    int level;
    struct span spans[2]; // disjoint
    struct spy_idset keys;
    struct pair *at;
    size_t cap;
    struct spy_buf clean, dirty; // as external tables
    size_t n_clean;
    uint64_t rows; // of the clean roll-ups
};

struct plan {
    struct spy_click_marks marks;
    struct span covered; // minutes
    struct pairs levels[SPY_CLICK_LEVELS];
};

static void plan_free(struct plan *p)
{
    for (int level = 0; level < SPY_CLICK_LEVELS; level++) {
        struct pairs *pairs = &p->levels[level];
        spy_idset_free(&pairs->keys);
        free(pairs->at);
        spy_buf_free(&pairs->clean);
        spy_buf_free(&pairs->dirty);
    }
}

// --- spans ---

static uint64_t divide_rounding_up(uint64_t ns, uint64_t unit)
{
    return ns / unit + (ns % unit > 0);
}

// The roll-ups that lie inside of [from, until), and those that stand for what was dropped below; the
// time of their windows says which of these are selected.
static struct span find_span(int level, uint64_t from, uint64_t until, uint64_t dropped,
                             bool only_dropped)
{
    uint64_t unit = spy_click_level_ns(level), first = from / unit;
    uint64_t gone = divide_rounding_up(dropped, unit), end = until / unit;
    struct span s = {first < gone ? first : divide_rounding_up(from, unit),
                     end > gone ? end : gone};
    if (only_dropped && s.end > gone)
        s.end = gone;
    return s.first < s.end ? s : (struct span){s.first, s.first};
}

static void plan_spans(struct plan *p, uint64_t from, uint64_t until, bool only_dropped)
{
    struct span hours =
        find_span(SPY_CLICK_HOUR, from, until, p->marks.minutes * SPY_CLICK_DAY_NS, only_dropped);
    struct span minutes =
        find_span(SPY_CLICK_MINUTE, from, until, p->marks.windows * SPY_CLICK_DAY_NS, only_dropped);
    struct span *beside = p->levels[SPY_CLICK_MINUTE].spans;
    p->covered = beside[0] = minutes;
    if (hours.first >= hours.end)
        return;
    struct span as = {hours.first * 60, hours.end * 60};
    p->covered.first = as.first < minutes.first ? as.first : minutes.first;
    p->covered.end = as.end > minutes.end ? as.end : minutes.end;
    beside[0] = (struct span){p->covered.first, as.first};
    beside[1] = (struct span){as.end, p->covered.end};
    p->levels[SPY_CLICK_HOUR].spans[0] = hours;
}

static bool is_empty(const struct pairs *p)
{
    return p->spans[0].first >= p->spans[0].end && p->spans[1].first >= p->spans[1].end;
}

static void put_spans(struct spy_buf *sql, const struct pairs *p, const char *bucket)
{
    uint64_t unit = spy_click_level_ns(p->level), first = UINT64_MAX, end = 0;
    for (size_t i = 0; i < SPY_COUNT(p->spans); i++)
        if (p->spans[i].first < p->spans[i].end) {
            first = spy_min(first, p->spans[i].first);
            end = p->spans[i].end > end ? p->spans[i].end : end;
        }
    spy_buf_printf(sql, "day >= %u AND day <= %u AND (0", spy_click_day(first * unit),
                   spy_click_day(end > UINT64_MAX / unit ? UINT64_MAX : end * unit));
    for (size_t i = 0; i < SPY_COUNT(p->spans); i++)
        if (p->spans[i].first < p->spans[i].end)
            spy_buf_printf(sql, " OR (%s >= %" PRIu64 " AND %s < %" PRIu64 ")", bucket,
                           p->spans[i].first, bucket, p->spans[i].end);
    spy_buf_puts(sql, ")");
}

// --- which roll-ups are whole ---

static int send_read(struct spy_click_reading *r, const char *sql, const struct spy_buf *picked,
                     const char *structure, spy_click_row_fn row, void *arg, struct spy_err *err)
{
    return spy_click_call(r->s->link,
                          &(struct spy_click_call){.sql = sql,
                                                   .picked = picked,
                                                   .structure = structure,
                                                   .row = row,
                                                   .arg = arg,
                                                   .stop = r->select->stop,
                                                   .secs = READ_SECS,
                                                   .bytes_max = WINDOWS_BYTES},
                          err);
}

static int send_by_series(struct spy_click_reading *r, const char *sql, spy_click_row_fn row,
                          void *arg, struct spy_err *err)
{
    return send_read(r, sql, r->picked->is_all ? NULL : &r->picked->rows, "id FixedString(16)", row,
                     arg, err);
}

static const char *only_picked(const struct spy_click_reading *r)
{
    return r->picked->is_all ? "" : " AND series IN (SELECT id FROM picked)";
}

struct counted {
    struct pairs *pairs;
    bool are_windows;
};

static int fail_pairs(struct spy_err *err)
{
    return spy_err_set(err, SPY_ERR_LIMIT, 0, "the answer is too large: narrow the selection");
}

static int note_rolled(struct pairs *p, const uint8_t *series, struct pair pair, uint64_t rows)
{
    uint8_t key[SPY_ID];
    uint32_t at;
    bool is_new;
    spy_click_ids_of_day(series, pair.bucket, key);
    int r = spy_idset_add(&p->keys, key, &at, &is_new);
    if (r == 0 && is_new)
        r = spy_grow(&p->at, &p->cap, p->keys.n, sizeof *p->at, PAIRS_MAX);
    if (r < 0)
        return r;
    p->at[at] = pair;
    p->rows = spy_add_sat(p->rows, rows + 1);
    spy_buf_append(&p->clean, series, SPY_ID);
    spy_rowbin_put(&p->clean, pair.bucket, 4);
    spy_rowbin_put(&p->clean, pair.windows, 4);
    p->n_clean++;
    return p->clean.failed;
}

// Its roll-up, if there is one, is left out when the list is made.
static int note_windows(struct pairs *p, const uint8_t *series, uint32_t bucket, uint64_t n)
{
    uint8_t key[SPY_ID];
    spy_click_ids_of_day(series, bucket, key);
    uint32_t at = spy_idset_find(&p->keys, key);
    if (at != SPY_MAP_NONE && n <= p->at[at].windows)
        return 0;
    if (at != SPY_MAP_NONE)
        p->at[at].is_dirty = true;
    spy_buf_append(&p->dirty, series, SPY_ID);
    spy_rowbin_put(&p->dirty, bucket, 4);
    return p->dirty.failed;
}

static int read_pair_row(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    const struct counted *c = arg;
    const uint8_t *series = spy_rowbin_bytes(r, SPY_ID);
    uint32_t bucket = (uint32_t)spy_rowbin_number(r, 4);
    uint64_t n = spy_rowbin_number(r, 8), rows = spy_rowbin_number(r, 8);
    if (r->is_short)
        return SPY_ERR_TORN;
    int result = c->are_windows
                     ? note_windows(c->pairs, series, bucket, n)
                     : note_rolled(c->pairs, series, (struct pair){bucket, (uint32_t)n, 0}, rows);
    return result < 0 ? fail_pairs(err) : 0;
}

static const char *const rolled_tables[SPY_CLICK_LEVELS] = {
    [SPY_CLICK_MINUTE] = "minutes", [SPY_CLICK_HOUR] = "hours"};
static const char *const bucket_sql[SPY_CLICK_LEVELS] = {
    [SPY_CLICK_MINUTE] = SPY_CLICK_MINUTE_SQL, [SPY_CLICK_HOUR] = SPY_CLICK_HOUR_SQL};

static int list_rolled(struct spy_click_reading *r, struct pairs *p, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf sql = SPY_BUF_INIT(SQL_BYTES);
    uint64_t horizon = __atomic_load_n(&r->s->horizon_ns, __ATOMIC_RELAXED);
    uint64_t from = spy_min(r->select->from_ns, SPY_CLICK_TIME_MAX);
    spy_buf_printf(&sql,
                   "SELECT series, bucket, toUInt64(max(windows)), toUInt64(argMax(rows, windows)) "
                   "FROM %s WHERE bucket >= %" PRIu64 " AND " SPY_CLICK_IS_ROLLED
                   " AND start_ns < %" PRIu64 " AND (end_ns > %" PRIu64 " OR start_ns = %" PRIu64
                   ") AND ",
                   rolled_tables[p->level], horizon / spy_click_level_ns(p->level),
                   spy_min(r->select->until_ns, SPY_CLICK_TIME_MAX), from, from);
    put_spans(&sql, p, "bucket");
    spy_buf_printf(&sql, "%s GROUP BY series, bucket FORMAT RowBinary", only_picked(r));
    return send_by_series(r, spy_buf_str(&sql), read_pair_row, &(struct counted){p, false}, err);
}

static int count_their_windows(struct spy_click_reading *r, struct pairs *p, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf sql = SPY_BUF_INIT(SQL_BYTES);
    spy_buf_printf(
        &sql, "SELECT series, %s AS bucket, toUInt64(count()), toUInt64(0) FROM windows WHERE ",
        bucket_sql[p->level]);
    put_spans(&sql, p, bucket_sql[p->level]);
    spy_buf_printf(&sql, "%s GROUP BY series, bucket FORMAT RowBinary", only_picked(r));
    return send_by_series(r, spy_buf_str(&sql), read_pair_row, &(struct counted){p, true}, err);
}

// Takes what turned out to be dirty out of the list of roll-ups to read.
static void drop_dirty(struct pairs *p)
{
    enum { ROW = SPY_ID + 8 };
    size_t left = 0;
    for (size_t i = 0; i < p->keys.n; i++) {
        if (p->at[i].is_dirty)
            continue;
        memmove(p->clean.data + left * ROW, p->clean.data + i * ROW, ROW);
        left++;
    }
    p->n_clean = left;
    p->clean.len = left * ROW;
}

static int plan_level(struct spy_click_reading *r, struct pairs *p, struct spy_err *err)
{
    p->clean = SPY_BUF_INIT(PICKED_MAX);
    p->dirty = SPY_BUF_INIT(PICKED_MAX);
    if (is_empty(p))
        return 0;
    int result = list_rolled(r, p, err);
    if (result == 0)
        result = count_their_windows(r, p, err);
    if (result == 0)
        drop_dirty(p);
    return result;
}

static int make_plan(struct spy_click_reading *r, struct plan *p, struct spy_err *err)
{
    uint64_t from = spy_click_first_end(r->s, r->select);
    uint64_t until = spy_min(r->select->until_ns, SPY_CLICK_TIME_MAX);
    if (!spy_click_rolls_up(r->s))
        return 0;
    int result = spy_click_marks_read(r->s, &p->marks, err);
    if (result < 0)
        return result;
    plan_spans(p, from, until, r->only_dropped);
    for (int level = SPY_CLICK_MINUTE; level < SPY_CLICK_LEVELS && result == 0; level++) {
        p->levels[level].level = level;
        result = plan_level(r, &p->levels[level], err);
    }
    return result;
}

// --- rows ---

size_t spy_click_reading_memory(const struct spy_click_reading *r)
{
    return spy_idset_memory(&r->profile_ids) + spy_idset_memory(&r->rolled);
}

void spy_click_reading_free(struct spy_click_reading *r)
{
    spy_idset_free(&r->profile_ids);
    spy_idset_free(&r->rolled);
    r->n_rows = r->n_found = 0;
}

static int fail_rows(const struct spy_click_reading *r, uint64_t rows, struct spy_err *err)
{
    uint64_t max = r->select->rows_max ? r->select->rows_max : SPY_STORE_ROWS_MAX;
    return rows > max ? spy_err_set(err, SPY_ERR_LIMIT, 0,
                                    "%" PRIu64 " samples are selected, and at most %" PRIu64
                                    " can be merged: narrow the time or the labels",
                                    rows, max)
                      : 0;
}

struct source {
    struct spy_click_reading *reading;
    int level;
    bool is_late;
};

// *ret_is_new: whether the row was not read yet.
static int take_key(struct source *s, const struct spy_click_window *w, bool *ret_is_new)
{
    uint32_t at;
    uint8_t key[SPY_ID];
    if (!s->level || s->is_late)
        return spy_idset_add(&s->reading->profile_ids, w->profile_id, &at, ret_is_new);
    spy_click_ids_of_day(w->series, w->bucket, key);
    key[0] ^= (uint8_t)s->level;
    int r = spy_idset_add(&s->reading->rolled, key, &at, ret_is_new);
    s->reading->n_found += r == 0 && *ret_is_new;
    return r;
}

static int read_source_row(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    struct source *s = arg;
    struct spy_click_reading *reading = s->reading;
    struct spy_click_window w;
    bool is_new;
    int result = s->level ? spy_click_read_rolled(r, &w, err) : spy_click_read_head(r, &w, err);
    if (result == 0 && reading->columns == SPY_CLICK_ALL_COLUMNS)
        result = spy_click_read_threads(r, &w, err);
    if (result == 0 && reading->columns == SPY_CLICK_ALL_COLUMNS)
        result = spy_click_read_rows(r, &w, err);
    if (result == 0 && reading->columns == SPY_CLICK_HEADS_AND_STATES)
        result = spy_click_read_states(r, &w, err);
    if (result < 0)
        return result;
    w.level = (uint32_t)s->level;
    if (take_key(s, &w, &is_new) < 0)
        return spy_err_nomem(err);
    return is_new ? reading->fn(reading->arg, &w, err) : 0;
}

static void put_columns(struct spy_buf *out, const struct spy_click_reading *r, int level)
{
    static const char *const samples[] = {
        [SPY_CLICK_ONLY_HEADS] = "",
        [SPY_CLICK_HEADS_AND_STATES] = ", " SPY_CLICK_STATES,
        [SPY_CLICK_ALL_COLUMNS] = ", " SPY_CLICK_THREADS ", " SPY_CLICK_ROWS,
    };
    spy_buf_printf(out, "%s%s", level ? SPY_CLICK_ROLLED "arraySlice(ids, 1, 1)" : SPY_CLICK_HEAD,
                   samples[r->columns]);
}

static int read_count(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    (void)err;
    uint64_t n = spy_rowbin_number(r, 8);
    if (r->is_short)
        return SPY_ERR_TORN;
    *(uint64_t *)arg = n;
    return 0;
}

// Which rows a statement reads: of the selection, and where `more` says so.
struct where {
    struct source source;
    const char *more;
    const struct spy_buf *picked; // NULL: those of the selection
    const char *structure;
};

static const struct spy_click_picked every_series = {.is_all = true};

static int read_where(struct spy_click_reading *r, struct where *w, bool counts,
                      struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf sql = SPY_BUF_INIT(SQL_BYTES), columns = SPY_BUF_INIT(SQL_BYTES);
    uint64_t rows = 0;
    const char *table = w->source.level ? rolled_tables[w->source.level] : "windows";
    if (counts)
        spy_buf_puts(&columns, "toUInt64(count() + sum(rows))");
    else
        put_columns(&columns, r, w->source.level);
    spy_click_put_select(r->s, &sql, spy_buf_str(&columns), table, r->select,
                         w->picked ? &every_series : r->picked);
    spy_buf_printf(&sql, "%s FORMAT RowBinary", w->more);
    spy_click_row_fn row = counts ? read_count : read_source_row;
    void *arg = counts ? (void *)&rows : (void *)&w->source;
    int result = w->picked ? send_read(r, spy_buf_str(&sql), w->picked, w->structure, row, arg, err)
                           : send_by_series(r, spy_buf_str(&sql), row, arg, err);
    r->n_rows = spy_add_sat(r->n_rows, rows);
    return result == 0 && r->holds_rows ? fail_rows(r, r->n_rows, err) : result;
}

static int read_windows_where(struct spy_click_reading *r, struct where *w, struct spy_err *err)
{
    w->source.reading = r;
    int result = r->holds_rows ? read_where(r, w, true, err) : 0;
    return result == 0 ? read_where(r, w, false, err) : result;
}

// The windows beside the roll-ups.
static int read_edges(struct spy_click_reading *r, const struct plan *p, struct spy_err *err)
{
    char more[400] = "";
    uint64_t minute = spy_click_level_ns(SPY_CLICK_MINUTE);
    if (p->covered.first < p->covered.end)
        snprintf(more, sizeof more,
                 " AND (end_ns <= %" PRIu64 " OR end_ns >= %" PRIu64 ") AND (" SPY_CLICK_MINUTE_SQL
                 " < %" PRIu64 " OR " SPY_CLICK_MINUTE_SQL " >= %" PRIu64 ")",
                 p->covered.first * minute, p->covered.end * minute, p->covered.first,
                 p->covered.end);
    return read_windows_where(r, &(struct where){.more = more}, err);
}

// The windows of roll-ups that do not have them all. Those of an hour that is selected are.
static int read_dirty(struct spy_click_reading *r, const struct pairs *p, struct spy_err *err)
{
    char more[300];
    if (!p->dirty.len)
        return 0;
    snprintf(more, sizeof more,
             " AND series IN (SELECT series FROM picked) AND (series, %s) IN "
             "(SELECT series, bucket FROM picked)",
             bucket_sql[p->level]);
    return read_windows_where(
        r, &(struct where){.more = more, .picked = &p->dirty, .structure = PAIR_STRUCTURE}, err);
}

static int read_clean(struct spy_click_reading *r, struct pairs *p, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf sql = SPY_BUF_INIT(SQL_BYTES), columns = SPY_BUF_INIT(SQL_BYTES);
    struct source source = {.reading = r, .level = p->level};
    if (!p->n_clean)
        return 0;
    r->n_rows = spy_add_sat(r->n_rows, p->rows);
    int result = r->holds_rows ? fail_rows(r, r->n_rows, err) : 0;
    put_columns(&columns, r, p->level);
    spy_buf_printf(&sql, "SELECT %s FROM %s PREWHERE ", spy_buf_str(&columns),
                   rolled_tables[p->level]);
    put_spans(&sql, p, "bucket");
    spy_buf_puts(&sql, " AND " SPY_CLICK_IS_ROLLED " AND series IN (SELECT series FROM picked) AND "
                       "(series, bucket, windows) IN (SELECT series, bucket, windows FROM picked) "
                       "FORMAT RowBinary");
    r->n_found = 0;
    if (result == 0)
        result = send_read(r, spy_buf_str(&sql), &p->clean, ROLLED_STRUCTURE, read_source_row,
                           &source, err);
    if (result == 0 && r->n_found < p->n_clean)
        return spy_err_set(err, SPY_ERR_AGAIN, 0,
                           "sums by %s were replaced while they were read: ask again",
                           p->level == SPY_CLICK_HOUR ? "the hour" : "the minute");
    return result;
}

// Late windows of closed days. They are in minutes and in hours, and read from one of them.
static int read_late(struct spy_click_reading *r, const struct spy_click_marks *m,
                     struct spy_err *err)
{
    uint32_t first = spy_click_window_day(0, spy_click_first_end(r->s, r->select));
    char more[160];
    int result = 0;
    for (int level = SPY_CLICK_MINUTE; level < SPY_CLICK_LEVELS && result == 0; level++) {
        uint32_t from = level == SPY_CLICK_MINUTE ? m->minutes : 0;
        uint32_t end = level == SPY_CLICK_MINUTE ? m->closed : m->minutes;
        if (first >= end || from >= end)
            continue;
        snprintf(more, sizeof more, " AND day >= %u AND day < %u AND NOT (" SPY_CLICK_IS_ROLLED ")",
                 from, end);
        result = read_windows_where(
            r, &(struct where){.source = {.level = level, .is_late = true}, .more = more}, err);
    }
    return result;
}

int spy_click_read(struct spy_click_reading *r, struct spy_err *err)
{
    _cleanup_(plan_free) struct plan plan = {0};
    int result = make_plan(r, &plan, err);
    for (int level = SPY_CLICK_HOUR; level > SPY_CLICK_WINDOW && result == 0; level--) {
        result = read_clean(r, &plan.levels[level], err);
        if (result == 0)
            result = read_dirty(r, &plan.levels[level], err);
    }
    if (result == 0)
        result = read_late(r, &plan.marks, err);
    return result == 0 ? read_edges(r, &plan, err) : result;
}
