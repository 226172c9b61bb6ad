// expire.c - retention: days are dropped whole. The windows of a day that have expired before their
// day has are hidden from every question (spy_click.horizon_ns).
//
// Every collector of a database does this, and it does not matter that they do: dropping what is gone
// does nothing.
#include "collector/store/clickhouse/click.h"
#include "shared/base/mem.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { DAYS_MAX = 1 << 16, SQL_BYTES = 200 };

struct day {
    uint32_t day;
    uint64_t bytes;
};

struct days { // of the tables together, oldest first
    struct day *at;
    size_t n, cap;
    uint64_t bytes;
};

static int read_day_row(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    struct days *d = arg;
    struct day day = {.day = (uint32_t)spy_rowbin_number(r, 2)};
    day.bytes = spy_rowbin_number(r, 8);
    if (r->is_short)
        return SPY_ERR_TORN;
    if (spy_grow(&d->at, &d->cap, d->n + 1, sizeof *d->at, DAYS_MAX) < 0)
        return spy_err_nomem(err);
    d->at[d->n++] = day;
    d->bytes = spy_add_sat(d->bytes, day.bytes);
    return 0;
}

static int list_days(struct spy_click *s, struct days *ret, struct spy_err *err)
{
    return spy_click_call(
        s->link,
        &(struct spy_click_call){
            .sql = "SELECT toUInt16(partition_id) AS day, toUInt64(sum(bytes_on_disk)) "
                   "FROM system.parts WHERE active AND database = currentDatabase() AND "
                   "table IN ('windows', 'stacks', 'frames', 'series') GROUP BY day ORDER BY day "
                   "FORMAT RowBinary",
            .row = read_day_row,
            .arg = ret},
        err);
}

static int drop_day(struct spy_click *s, uint32_t day, struct spy_err *err)
{
    int r = 0;
    for (size_t i = 0; spy_click_day_tables[i] && r == 0; i++) {
        char sql[SQL_BYTES];
        snprintf(sql, sizeof sql, "ALTER TABLE %s DROP PARTITION ID '%u'", spy_click_day_tables[i],
                 day);
        r = spy_click_call(s->link, &(struct spy_click_call){.sql = sql}, err);
    }
    return r;
}

// Drops the days before first_day, then the oldest while all take more than max_bytes; the latest day
// stays. *ret_left: bytes.
static int drop_days(struct spy_click *s, const struct days *d, uint32_t first_day,
                     uint64_t max_bytes, uint64_t *ret_left, struct spy_err *err)
{
    int r = 0;
    *ret_left = d->bytes;
    for (size_t i = 0; i < d->n && r == 0; i++) {
        bool is_old = d->at[i].day < first_day;
        if (!is_old && (*ret_left <= max_bytes || i + 1 == d->n))
            break;
        r = drop_day(s, d->at[i].day, err);
        *ret_left -= d->at[i].bytes;
    }
    return r;
}

// Days go from the oldest on. Where one went, by this collector or by another, rows that `written`
// holds may be gone.
static void note_days(struct spy_click *s, const struct days *d, uint64_t horizon)
{
    uint32_t first = d->n ? d->at[0].day : UINT16_MAX;
    if (first > s->first_day || first < spy_click_day(horizon))
        spy_idset_clear(&s->written);
    s->first_day = first;
}

int spy_click_expire(struct spy_store *store, uint64_t now_ns, uint64_t raw_ns, uint64_t max_bytes,
                     struct spy_err *err)
{
    struct spy_click *s = (struct spy_click *)store;
    struct days days = {0};
    uint64_t horizon = now_ns > raw_ns ? now_ns - raw_ns : 0, left = 0;
    int r = spy_click_prepare(s, err);
    pthread_mutex_lock(&s->write_lock);
    if (r == 0)
        r = list_days(s, &days, err);
    if (r == 0)
        r = drop_days(s, &days, spy_click_day(horizon), max_bytes, &left, err);
    if (r == 0)
        note_days(s, &days, horizon);
    s->knows_n_series = false;
    pthread_mutex_unlock(&s->write_lock);
    free(days.at);
    if (r < 0)
        return r;
    __atomic_store_n(&s->horizon_ns, horizon, __ATOMIC_RELAXED);
    __atomic_store_n(&s->is_full, left > max_bytes, __ATOMIC_RELAXED);
    return 0;
}
