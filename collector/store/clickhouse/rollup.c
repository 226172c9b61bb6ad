// rollup.c - makes the roll-ups of a day.
//
// One query finds the hours of the whole day that have more windows than their roll-up sums, by
// series. The windows of some of them are read then, summed here, each profile_id once, and written:
// minutes first, as an hour says that its minutes are there.
#include "collector/store/clickhouse/levels.h"
#include "shared/base/mem.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SQL_BYTES = 4 << 10,
    ROLL_SECS = 120,
    WANTED_MAX = 1 << 24,
    CHUNK_HOURS = 64,
    CHUNK_ROWS = 1 << 20,
    CHUNK_SUMS = 4 << 20,    // samples of all roll-ups of a chunk
    ROLLED_SUMS = 1 << 20,   // of one
    CHUNK_THREADS = 1 << 16, // past these bounds, samples keep their weight and state, and lose
    NAME_BYTES = 8 << 20,    // the thread, and then the stack
    PICKED_MAX = 1 << 20,
    ROWS_BYTES = 512 << 20,
};
#define ANSWER_MAX ((uint64_t)8 << 30)

struct wanted { // an hour of a series
    uint8_t series[SPY_ID];
    uint32_t hour;
    uint64_t n, in_rollup; // windows: rows that are there; that its roll-up sums
    uint64_t rows;         // samples
};

struct rolled {
    int level;
    uint32_t bucket, windows, n_sums;
    uint64_t samples;
    uint8_t series[SPY_ID];
    struct spy_series window;
    struct spy_buf ids;
};

struct rolled_sum {
    uint32_t rolled, stack, thread, state;
    uint64_t count, ns;
};

struct thread_name {
    uint64_t tid;
    size_t at, len; // in chunk.names
};

struct chunk {
    struct spy_idset profile_ids, buckets, stacks;
    struct rolled *rolled; // by number in buckets
    size_t rolled_cap;
    struct spy_map sums_by_key, threads_by_key;
    struct rolled_sum *sums;
    size_t n_sums, sums_cap;
    struct thread_name *threads; // from 1
    size_t n_threads, threads_cap;
    struct spy_buf names;
    uint32_t *numbers; // of a window's stacks, then of its threads
    size_t numbers_cap;
    struct spy_buf rows[SPY_CLICK_LEVELS];
};

static void chunk_free(struct chunk *c)
{
    for (size_t i = 0; i < c->buckets.n; i++)
        spy_buf_free(&c->rolled[i].ids);
    spy_idset_free(&c->profile_ids);
    spy_idset_free(&c->buckets);
    spy_idset_free(&c->stacks);
    free(c->rolled);
    spy_map_free(&c->sums_by_key);
    spy_map_free(&c->threads_by_key);
    free(c->sums);
    free(c->threads);
    spy_buf_free(&c->names);
    free(c->numbers);
    for (int level = 0; level < SPY_CLICK_LEVELS; level++)
        spy_buf_free(&c->rows[level]);
}

// --- what is to be rolled up ---

struct wanting {
    struct spy_idset keys;
    struct wanted *at;
    size_t cap;
    bool are_windows;
    uint32_t end; // hour
};

static int note_wanted(struct wanting *w, const uint8_t *series, uint32_t hour, uint64_t n,
                       uint64_t rows)
{
    uint8_t key[SPY_ID];
    uint32_t at;
    bool is_new;
    spy_click_ids_of_day(series, hour, key);
    if (!w->are_windows) {
        at = spy_idset_find(&w->keys, key);
        if (at != SPY_MAP_NONE)
            w->at[at].in_rollup = n;
        return 0;
    }
    int r = spy_idset_add(&w->keys, key, &at, &is_new);
    if (r == 0)
        r = spy_grow(&w->at, &w->cap, w->keys.n, sizeof *w->at, WANTED_MAX);
    if (r < 0)
        return r;
    w->at[at] = (struct wanted){.hour = hour, .n = n, .rows = rows};
    memcpy(w->at[at].series, series, SPY_ID);
    return 0;
}

static int read_wanted_row(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    struct wanting *w = arg;
    const uint8_t *series = spy_rowbin_bytes(r, SPY_ID);
    uint32_t hour = (uint32_t)spy_rowbin_number(r, 4);
    uint64_t n = spy_rowbin_number(r, 8), rows = spy_rowbin_number(r, 8);
    if (r->is_short)
        return SPY_ERR_TORN;
    if (hour >= w->end)
        return 0;
    return note_wanted(w, series, hour, n, rows) < 0 ? spy_err_nomem(err) : 0;
}

static int ask_wanted(struct spy_click *s, struct wanting *w, const char *sql, struct spy_err *err)
{
    return spy_click_call(
        s->link,
        &(struct spy_click_call){
            .sql = sql, .row = read_wanted_row, .arg = w, .agreed = true, .secs = ROLL_SECS},
        err);
}

static int compare_wanted(const void *a, const void *b)
{
    const struct wanted *x = a, *y = b;
    if (x->hour != y->hour)
        return x->hour < y->hour ? -1 : 1;
    return memcmp(x->series, y->series, SPY_ID);
}

// The rows of a day's windows with those of an earlier version, which counts a window that ends at
// midnight to the day that begins then.
static int list_wanted(struct spy_click *s, uint32_t day, struct wanting *w, struct spy_err *err)
{
    char sql[400];
    size_t n = 0;
    snprintf(sql, sizeof sql,
             "SELECT series, " SPY_CLICK_HOUR_SQL " AS hour, toUInt64(count()), "
             "toUInt64(sum(rows)) FROM windows WHERE day = %u GROUP BY series, hour "
             "FORMAT RowBinary",
             day);
    w->are_windows = true;
    int r = ask_wanted(s, w, sql, err);
    snprintf(sql, sizeof sql,
             "SELECT series, bucket, toUInt64(max(windows)), toUInt64(0) FROM hours WHERE "
             "day + 1 >= %u AND day <= %u AND " SPY_CLICK_IS_ROLLED
             " GROUP BY series, bucket FORMAT RowBinary",
             day, day);
    w->are_windows = false;
    if (r == 0)
        r = ask_wanted(s, w, sql, err);
    for (size_t i = 0; i < w->keys.n && r == 0; i++)
        if (w->at[i].n > w->at[i].in_rollup)
            w->at[n++] = w->at[i];
    w->keys.n = (uint32_t)n; // numbers of keys no longer
    if (n)
        qsort(w->at, n, sizeof *w->at, compare_wanted);
    return r;
}

// --- sums ---

static int find_rolled(struct chunk *c, int level, const struct spy_click_window *w, uint32_t *ret)
{
    uint32_t bucket = spy_click_bucket(level, w->window.start_ns, w->end_ns);
    uint8_t key[SPY_ID];
    bool is_new;
    spy_click_ids_of_day(w->series, bucket, key);
    key[0] ^= (uint8_t)level;
    int r = spy_idset_add(&c->buckets, key, ret, &is_new);
    if (r == 0 && is_new)
        r = spy_grow(&c->rolled, &c->rolled_cap, c->buckets.n, sizeof *c->rolled, WANTED_MAX);
    if (r < 0 || !is_new)
        return r;
    c->rolled[*ret] =
        (struct rolled){.level = level, .bucket = bucket, .ids = SPY_BUF_INIT(SPY_ROWBIN_MAX)};
    memcpy(c->rolled[*ret].series, w->series, SPY_ID);
    return 0;
}

static int add_rolled_sum(struct chunk *c, struct rolled_sum add)
{
    struct rolled *rolled = &c->rolled[add.rolled];
    if (c->n_sums >= CHUNK_SUMS || rolled->n_sums >= ROLLED_SUMS)
        add.stack = add.thread = 0;
    uint64_t hash = spy_hash_mix(((uint64_t)add.rolled << 32) | add.stack,
                                 ((uint64_t)add.thread << 32) | add.state);
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&c->sums_by_key, hash, &at)) != SPY_MAP_NONE;) {
        struct rolled_sum *s = &c->sums[i];
        if (s->rolled != add.rolled || s->stack != add.stack || s->thread != add.thread ||
            s->state != add.state)
            continue;
        s->count = spy_add_sat(s->count, add.count);
        s->ns = spy_add_sat(s->ns, add.ns);
        return 0;
    }
    int r = spy_grow(&c->sums, &c->sums_cap, c->n_sums + 1, sizeof *c->sums, (size_t)1 << 28);
    if (r == 0)
        r = spy_map_add(&c->sums_by_key, hash, (uint32_t)c->n_sums);
    if (r < 0)
        return r;
    c->sums[c->n_sums++] = add;
    rolled->n_sums++;
    return 0;
}

static int number_rolled_thread(struct chunk *c, uint64_t tid, const struct spy_click_text *name,
                                uint32_t *ret)
{
    uint64_t hash = spy_hash_mix(tid, spy_hash_bytes(name->at, name->len));
    *ret = 0;
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&c->threads_by_key, hash, &at)) != SPY_MAP_NONE;) {
        const struct thread_name *t = &c->threads[i];
        if (t->tid == tid && t->len == name->len &&
            !memcmp(c->names.data + t->at, name->at, name->len)) {
            *ret = i;
            return 0;
        }
    }
    if (c->n_threads + 1 >= CHUNK_THREADS || c->names.len + name->len >= NAME_BYTES)
        return 0;
    size_t n = c->n_threads ? c->n_threads : 1; // 0 is "not known"
    int r = spy_grow(&c->threads, &c->threads_cap, n + 1, sizeof *c->threads, CHUNK_THREADS + 1);
    if (r == 0)
        r = spy_map_add(&c->threads_by_key, hash, (uint32_t)n);
    if (r < 0)
        return r;
    c->threads[n] = (struct thread_name){tid, c->names.len, name->len};
    c->n_threads = n + 1;
    *ret = (uint32_t)n;
    return spy_buf_append(&c->names, name->at, name->len) < 0 ? SPY_ERR_NOMEM : 0;
}

static int number_rolled_names(struct chunk *c, struct spy_click_window *w)
{
    bool is_new;
    int r = spy_grow(&c->numbers, &c->numbers_cap, w->n_stacks + w->n_threads + 1,
                     sizeof *c->numbers, SIZE_MAX / 64);
    for (size_t i = 0; i < w->n_stacks && r == 0; i++) {
        r = spy_idset_add(&c->stacks, w->stacks + i * SPY_ID, &c->numbers[i], &is_new);
        c->numbers[i] += r == 0;
    }
    for (size_t i = 0; i < w->n_threads && r == 0; i++) {
        struct spy_click_text name = spy_click_next_text(&w->names);
        r = number_rolled_thread(c, spy_rowbin_element(w->tids, i, 8), &name,
                                 &c->numbers[w->n_stacks + i]);
    }
    return r;
}

static int sum_samples_of(struct chunk *c, const struct spy_click_window *w, uint32_t rolled)
{
    int r = 0;
    for (size_t i = 0; i < w->n_rows && r == 0; i++) {
        struct spy_sample s;
        if (!spy_click_row(w, i, &s))
            return SPY_ERR_IO;
        r = add_rolled_sum(
            c, (struct rolled_sum){.rolled = rolled,
                                   .stack = s.stack ? c->numbers[s.stack - 1] : 0,
                                   .thread = s.thread ? c->numbers[w->n_stacks + s.thread - 1] : 0,
                                   .state = s.state,
                                   .count = s.count,
                                   .ns = s.ns});
    }
    return r;
}

static int add_to_rolled(struct chunk *c, int level, const struct spy_click_window *w)
{
    uint32_t at = 0;
    int r = find_rolled(c, level, w, &at);
    if (r < 0)
        return r;
    struct rolled *to = &c->rolled[at];
    if (!to->windows)
        to->window = w->window;
    else
        spy_series_unite(&to->window, &w->window);
    to->windows++;
    to->samples = spy_add_sat(to->samples, w->samples);
    if (spy_buf_append(&to->ids, w->profile_id, SPY_ID) < 0)
        return SPY_ERR_NOMEM;
    return sum_samples_of(c, w, at);
}

static int roll_window_row(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    struct chunk *c = arg;
    struct spy_click_window w;
    uint32_t at;
    bool is_new;
    int result = spy_click_read_head(r, &w, err);
    if (result == 0)
        result = spy_click_read_threads(r, &w, err);
    if (result == 0)
        result = spy_click_read_rows(r, &w, err);
    if (result < 0)
        return result;
    result = spy_idset_add(&c->profile_ids, w.profile_id, &at, &is_new);
    if (result == 0 && !is_new)
        return 0;
    if (result == 0)
        result = number_rolled_names(c, &w);
    for (int level = SPY_CLICK_MINUTE; level < SPY_CLICK_LEVELS && result == 0; level++)
        result = add_to_rolled(c, level, &w);
    return result == 0            ? 0
           : result == SPY_ERR_IO ? spy_err_set(err, result, 0, "ClickHouse holds an invalid value")
                                  : spy_err_nomem(err);
}

// --- rows ---

static int compare_rolled_sums(const void *a, const void *b)
{
    const struct rolled_sum *x = a, *y = b;
    if (x->rolled != y->rolled)
        return x->rolled < y->rolled ? -1 : 1;
    if (x->stack != y->stack)
        return x->stack < y->stack ? -1 : 1;
    if (x->thread != y->thread)
        return x->thread < y->thread ? -1 : 1;
    return x->state < y->state ? -1 : x->state > y->state;
}

// Gives each stack and thread of sums[0, n) its number in the row, from 1, and writes the arrays of
// what they are. local: room for all stacks and threads of the chunk, all 0.
static void put_rolled_names(struct chunk *c, struct rolled_sum *sums, size_t n, uint32_t *local,
                             struct spy_buf *out)
{
    uint32_t *threads = local + c->stacks.n + 1, n_threads = 0, n_stacks = 0;
    struct spy_buf tids = SPY_BUF_INIT(ROWS_BYTES), names = SPY_BUF_INIT(ROWS_BYTES);
    struct spy_buf stacks = SPY_BUF_INIT(ROWS_BYTES);
    for (size_t i = 0; i < n; i++) {
        uint32_t stack = sums[i].stack, thread = sums[i].thread;
        if (stack && !local[stack]) {
            local[stack] = ++n_stacks;
            spy_buf_append(&stacks, c->stacks.ids[stack - 1], SPY_ID);
        }
        if (thread && !threads[thread]) {
            const struct thread_name *t = &c->threads[thread];
            threads[thread] = ++n_threads;
            spy_rowbin_put(&tids, t->tid, 8);
            spy_rowbin_put_text(&names, (const char *)c->names.data + t->at, t->len);
        }
    }
    const struct {
        const struct spy_buf *of;
        uint32_t n;
    } arrays[] = {{&tids, n_threads}, {&names, n_threads}, {&stacks, n_stacks}};
    for (size_t i = 0; i < SPY_COUNT(arrays); i++) {
        spy_rowbin_put_length(out, arrays[i].n);
        spy_buf_append(out, arrays[i].of->data, arrays[i].of->len);
        out->failed = out->failed ? out->failed : arrays[i].of->failed;
    }
    spy_buf_free(&tids);
    spy_buf_free(&names);
    spy_buf_free(&stacks);
}

static void put_rolled_sums(const struct chunk *c, const struct rolled_sum *sums, size_t n,
                            uint64_t period_ns, const uint32_t *local, struct spy_buf *out)
{
    const uint32_t *threads = local + c->stacks.n + 1;
    static const size_t sizes[] = {4, 4, 1, 8, 8};
    for (size_t column = 0; column < SPY_COUNT(sizes); column++) {
        spy_rowbin_put_length(out, n);
        for (size_t i = 0; i < n; i++) {
            const uint64_t values[] = {local[sums[i].stack], threads[sums[i].thread], sums[i].state,
                                       sums[i].count, sums[i].ns - sums[i].count * period_ns};
            spy_rowbin_put(out, values[column], sizes[column]);
        }
    }
}

static void put_rolled_row(struct chunk *c, struct rolled *rolled, struct rolled_sum *sums,
                           size_t n, uint32_t *local)
{
    struct spy_buf *out = &c->rows[rolled->level];
    struct spy_series *w = &rolled->window;
    memset(w->profile_id, 0, sizeof w->profile_id);
    spy_click_put_rolled(out, &(struct spy_click_rolled){.level = rolled->level,
                                                         .bucket = rolled->bucket,
                                                         .windows = rolled->windows,
                                                         .rows = (uint32_t)n,
                                                         .samples = rolled->samples,
                                                         .series = rolled->series,
                                                         .window = w,
                                                         .ids = rolled->ids.data});
    put_rolled_names(c, sums, n, local, out);
    put_rolled_sums(c, sums, n, w->period_ns, local, out);
    for (size_t i = 0; i < n; i++) {
        local[sums[i].stack] = 0;
        (local + c->stacks.n + 1)[sums[i].thread] = 0;
    }
}

static int make_rolled_rows(struct chunk *c, struct spy_err *err)
{
    _cleanup_free_ uint32_t *local = calloc((size_t)c->stacks.n + c->n_threads + 3, sizeof *local);
    if (!local)
        return spy_err_nomem(err);
    for (int level = 0; level < SPY_CLICK_LEVELS; level++)
        c->rows[level] = SPY_BUF_INIT(ROWS_BYTES);
    if (c->n_sums)
        qsort(c->sums, c->n_sums, sizeof *c->sums, compare_rolled_sums);
    for (size_t i = 0, at = 0, end; i < c->buckets.n; i++, at = end) {
        for (end = at; end < c->n_sums && c->sums[end].rolled == i;)
            end++;
        put_rolled_row(c, &c->rolled[i], c->sums + at, end - at, local);
    }
    return c->rows[SPY_CLICK_MINUTE].failed || c->rows[SPY_CLICK_HOUR].failed ? spy_err_nomem(err)
                                                                              : 0;
}

static int insert_rolled(struct spy_click *s, const struct chunk *c, struct spy_err *err)
{
    static const char *const sql[SPY_CLICK_LEVELS] = {
        [SPY_CLICK_MINUTE] = SPY_CLICK_INSERT_ROLLED("minutes"),
        [SPY_CLICK_HOUR] = SPY_CLICK_INSERT_ROLLED("hours")};
    int r = 0;
    for (int level = SPY_CLICK_MINUTE; level < SPY_CLICK_LEVELS && r == 0; level++)
        r = spy_click_call(
            s->link,
            &(struct spy_click_call){.sql = sql[level], .rows = &c->rows[level], .secs = ROLL_SECS},
            err);
    return r;
}

// --- the hours of a chunk ---

// Whether an hour has more windows than its roll-up, now that each profile_id was counted once.
static bool is_new_rolled(const struct chunk *c, const struct wanted *at, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t key[SPY_ID];
        spy_click_ids_of_day(at[i].series, at[i].hour, key);
        key[0] ^= SPY_CLICK_HOUR;
        uint32_t rolled = spy_idset_find(&c->buckets, key);
        if (rolled != SPY_MAP_NONE && c->rolled[rolled].windows > at[i].in_rollup)
            return true;
    }
    return false;
}

static int read_late_id(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    const uint8_t *id = spy_rowbin_bytes(r, SPY_ID);
    uint32_t at;
    bool is_new;
    if (!id)
        return SPY_ERR_TORN;
    return spy_idset_add(arg, id, &at, &is_new) < 0 ? spy_err_nomem(err) : 0;
}

// Windows that are stored beside the roll-ups: when a day is closed, one collector may take a window as
// late while another still takes it as one of the day.
static int read_late_ids(struct spy_click *s, uint32_t hour, const struct spy_buf *picked,
                         struct chunk *c, struct spy_err *err)
{
    char sql[300];
    snprintf(sql, sizeof sql,
             "SELECT profile_id FROM hours WHERE day = %u AND bucket = %u AND "
             "NOT (" SPY_CLICK_IS_ROLLED ") AND series IN (SELECT id FROM picked) FORMAT RowBinary",
             spy_click_bucket_day(SPY_CLICK_HOUR, hour), hour);
    return spy_click_call(s->link,
                          &(struct spy_click_call){.sql = sql,
                                                   .picked = picked,
                                                   .structure = "id FixedString(16)",
                                                   .row = read_late_id,
                                                   .arg = &c->profile_ids,
                                                   .agreed = true,
                                                   .secs = ROLL_SECS},
                          err);
}

// at[0, n): series of one hour.
static int read_chunk(struct spy_click *s, const struct wanted *at, size_t n, struct chunk *c,
                      struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf sql = SPY_BUF_INIT(SQL_BYTES), picked = SPY_BUF_INIT(PICKED_MAX);
    uint64_t unit = spy_click_level_ns(SPY_CLICK_HOUR), from = at->hour * unit;
    uint32_t day = spy_click_day(from);
    for (size_t i = 0; i < n; i++)
        spy_buf_append(&picked, at[i].series, SPY_ID);
    spy_buf_printf(
        &sql,
        "SELECT " SPY_CLICK_HEAD ", " SPY_CLICK_THREADS ", " SPY_CLICK_ROWS
        " FROM windows PREWHERE day >= %u AND day <= %u AND end_ns >= %" PRIu64
        " AND end_ns <= %" PRIu64 " AND " SPY_CLICK_HOUR_SQL
        " = %u AND series IN (SELECT id FROM picked) ORDER BY series, end_ns, profile_id "
        "FORMAT RowBinary",
        day, day + 1, from, from + unit, at->hour);
    int r = picked.failed ? spy_err_nomem(err) : read_late_ids(s, at->hour, &picked, c, err);
    return r < 0 ? r
                 : spy_click_call(s->link,
                                  &(struct spy_click_call){.sql = spy_buf_str(&sql),
                                                           .picked = &picked,
                                                           .structure = "id FixedString(16)",
                                                           .row = roll_window_row,
                                                           .arg = c,
                                                           .agreed = true,
                                                           .secs = ROLL_SECS,
                                                           .bytes_max = ANSWER_MAX},
                                  err);
}

static int roll_chunk(struct spy_click *s, const struct wanted *at, size_t n, bool *ret_written,
                      struct spy_err *err)
{
    _cleanup_(chunk_free) struct chunk c = {.names = SPY_BUF_INIT(2 * NAME_BYTES)};
    int r = read_chunk(s, at, n, &c, err);
    if (r < 0 || !is_new_rolled(&c, at, n))
        return r;
    r = make_rolled_rows(&c, err);
    *ret_written = true;
    return r == 0 ? insert_rolled(s, &c, err) : r;
}

static size_t measure_chunk(const struct wanted *at, size_t n)
{
    size_t i = 1;
    for (uint64_t rows = at->rows; i < n && i < CHUNK_HOURS && at[i].hour == at->hour; i++)
        if ((rows += at[i].rows) > CHUNK_ROWS)
            break;
    return i;
}

int spy_click_roll_up(struct spy_click *s, uint32_t day, uint64_t until_ns, bool *ret_written,
                      struct spy_err *err)
{
    struct wanting w = {
        .end = (uint32_t)spy_min(until_ns / spy_click_level_ns(SPY_CLICK_HOUR), UINT32_MAX)};
    int r = list_wanted(s, day, &w, err);
    size_t left = r == 0 ? w.keys.n : 0;
    for (const struct wanted *at = w.at; left && r == 0;) {
        size_t n = measure_chunk(at, left);
        r = roll_chunk(s, at, n, ret_written, err);
        at += n;
        left -= n;
    }
    spy_idset_free(&w.keys);
    free(w.at);
    return r < 0 ? spy_err_context(err, r, "summing windows up") : 0;
}
