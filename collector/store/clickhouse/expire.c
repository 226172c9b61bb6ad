// expire.c - retention: days are dropped whole, oldest first. What has expired before its day has is
// hidden from every question (spy_click.horizon_ns).
//
// With roll-ups, a day goes in steps (levels.h). It is closed, so that no collector stores windows of it
// any more; when all have noticed, what is left is rolled up; and a while after nothing was left to
// roll up, as questions can last, its windows are dropped. Its minutes, and its hours with all names,
// go by their own age.
//
// Every collector of a database does this, and it does not matter that they do: dropping what is gone
// does nothing.
#include "collector/store/clickhouse/levels.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { DAYS_MAX = 1 << 16, SQL_BYTES = 200, SETTLE_SECS = 120, ROLL_SHARE = 20 };

// The partitioned tables, grouped by what one step drops. Names go with the level that is kept longest.
static const char *const tables[SPY_CLICK_LEVELS + 1][4] = {
    [SPY_CLICK_WINDOW] = {"windows"},
    [SPY_CLICK_MINUTE] = {"minutes"},
    [SPY_CLICK_HOUR] = {"hours"},
    [SPY_CLICK_LEVELS] = {"stacks", "frames", "series"},
};

struct day {
    uint32_t day;
    uint64_t bytes;
};

struct days { // of some tables together, oldest first
    struct day *at;
    size_t n, cap;
    uint64_t bytes;
};

struct expiry {
    struct spy_click *s;
    struct spy_click_marks marks;
    struct spy_store_levels levels;
    uint64_t now_ns, raw_ns, max_bytes;
    struct days of[SPY_CLICK_LEVELS + 1];
};

static void expiry_done(struct expiry *e)
{
    for (size_t i = 0; i < SPY_COUNT(e->of); i++)
        free(e->of[i].at);
}

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

static int list_days(struct expiry *e, int level, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf sql = SPY_BUF_INIT(SQL_BYTES * 4);
    struct days *d = &e->of[level];
    d->n = d->bytes = 0;
    spy_buf_puts(&sql, "SELECT toUInt16(partition_id) AS day, toUInt64(sum(bytes_on_disk)) "
                       "FROM system.parts WHERE active AND database = currentDatabase() AND "
                       "table IN (''");
    for (size_t i = 0; i < SPY_COUNT(tables[level]) && tables[level][i]; i++)
        spy_buf_printf(&sql, ", '%s'", tables[level][i]);
    spy_buf_puts(&sql, ") GROUP BY day ORDER BY day FORMAT RowBinary");
    return spy_click_call(
        e->s->link,
        &(struct spy_click_call){.sql = spy_buf_str(&sql), .row = read_day_row, .arg = d}, err);
}

static int list_all_days(struct expiry *e, struct spy_err *err)
{
    int r = 0;
    for (int level = 0; level <= SPY_CLICK_LEVELS && r == 0; level++)
        r = list_days(e, level, err);
    return r;
}

// No name is counted on as written while it is dropped.
static int drop_day(struct spy_click *s, int level, uint32_t day, struct spy_err *err)
{
    int r = 0;
    pthread_mutex_lock(&s->write_lock);
    if (level == SPY_CLICK_LEVELS)
        spy_idset_clear(&s->written);
    for (size_t i = 0; i < SPY_COUNT(tables[level]) && tables[level][i] && r == 0; i++) {
        char sql[SQL_BYTES];
        snprintf(sql, sizeof sql, "ALTER TABLE %s DROP PARTITION ID '%u'", tables[level][i], day);
        r = spy_click_call(s->link, &(struct spy_click_call){.sql = sql}, err);
    }
    pthread_mutex_unlock(&s->write_lock);
    return r;
}

static int drop_days_before(struct expiry *e, int level, uint32_t end, struct spy_err *err)
{
    struct days *d = &e->of[level];
    int r = 0;
    size_t i = 0;
    for (; i < d->n && d->at[i].day < end && r == 0; i++) {
        r = drop_day(e->s, level, d->at[i].day, err);
        d->bytes -= spy_min(d->bytes, d->at[i].bytes);
    }
    for (size_t left = i; left < d->n; left++)
        d->at[left - i] = d->at[left];
    d->n -= i;
    return r;
}

// Days go from the oldest on. Where one went, by this collector or by another, rows that `written`
// holds may be gone.
static void note_days(struct expiry *e, uint32_t horizon)
{
    struct spy_click *s = e->s;
    const struct days *names = &e->of[SPY_CLICK_LEVELS];
    uint32_t first = names->n ? names->at[0].day : UINT16_MAX;
    pthread_mutex_lock(&s->write_lock);
    if (first > s->first_day || first < horizon)
        spy_idset_clear(&s->written);
    s->first_day = first;
    s->knows_n_series = false;
    pthread_mutex_unlock(&s->write_lock);
}

static uint64_t sum_bytes_of(const struct expiry *e)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < SPY_COUNT(e->of); i++)
        bytes = spy_add_sat(bytes, e->of[i].bytes);
    return bytes;
}

static uint64_t get_bound(const struct expiry *e, uint64_t age_ns)
{
    return e->now_ns > age_ns ? e->now_ns - age_ns : 0;
}

static void set_horizon(struct expiry *e, uint64_t horizon, bool is_full)
{
    __atomic_store_n(&e->s->horizon_ns, horizon, __ATOMIC_RELAXED);
    __atomic_store_n(&e->s->is_full, is_full, __ATOMIC_RELAXED);
}

// --- without roll-ups ---

static int drop_all_levels_before(struct expiry *e, uint32_t end, struct spy_err *err)
{
    int r = drop_days_before(e, SPY_CLICK_WINDOW, end, err);
    return r == 0 ? drop_days_before(e, SPY_CLICK_LEVELS, end, err) : r;
}

// Roll-ups of an earlier configuration go, then days that have expired, then the oldest while all take
// more than max_bytes; the latest day stays.
static int expire_windows(struct expiry *e, struct spy_err *err)
{
    uint64_t horizon = get_bound(e, e->raw_ns);
    const struct days *windows = &e->of[SPY_CLICK_WINDOW];
    int r = drop_days_before(e, SPY_CLICK_MINUTE, UINT32_MAX, err);
    if (r == 0)
        r = drop_days_before(e, SPY_CLICK_HOUR, UINT32_MAX, err);
    if (r == 0)
        r = drop_all_levels_before(e, spy_click_window_day(0, horizon), err);
    while (r == 0 && sum_bytes_of(e) > e->max_bytes && windows->n > 1)
        r = drop_all_levels_before(e, windows->at[0].day + 1, err);
    if (r < 0)
        return r;
    note_days(e, spy_click_window_day(0, horizon));
    set_horizon(e, horizon, sum_bytes_of(e) > e->max_bytes);
    return 0;
}

// --- with roll-ups ---

static uint64_t get_grace_ns(const struct spy_click *s)
{
    return spy_click_link_place(s->link)->grace_secs * SPY_NS_PER_SEC;
}

// A mark is set before what it says is done, so that whoever is killed in between leaves nothing that
// the next one does not do.
static int set_mark(struct expiry *e, enum spy_click_mark what, uint32_t *mark, uint32_t day,
                    struct spy_err *err)
{
    if (day <= *mark)
        return 0;
    int r = spy_click_mark(e->s, what, day, err);
    if (r == 0)
        *mark = day;
    return r;
}

// Where all take more than max_bytes, the level goes whose oldest day has most of the age that it may
// reach; not before what it sums up, nor the latest day. Returns the level; its day is *ret. SPY_CLICK_LEVELS: none may go.
static int choose_level_to_drop(const struct expiry *e, uint32_t *ret)
{
    const uint64_t ages[] = {e->raw_ns, e->levels.minutes_ns, e->levels.hours_ns};
    uint32_t today = spy_click_day(e->now_ns), latest = 0;
    int level = SPY_CLICK_LEVELS;
    double most = -1;
    for (int i = 0; i < SPY_CLICK_LEVELS; i++)
        if (e->of[i].n && e->of[i].at[e->of[i].n - 1].day > latest)
            latest = e->of[i].at[e->of[i].n - 1].day;
    for (int i = 0; i < SPY_CLICK_LEVELS; i++) {
        const struct days *d = &e->of[i];
        if (!d->n || d->at[0].day == latest)
            continue;
        double share =
            (double)(today > d->at[0].day ? today - d->at[0].day : 0) / ((double)ages[i] + 1);
        if (share > most) {
            most = share;
            level = i;
        }
    }
    while (level > 0 && level < SPY_CLICK_LEVELS && e->of[level - 1].n &&
           e->of[level - 1].at[0].day <= e->of[level].at[0].day)
        level--;
    if (level < SPY_CLICK_LEVELS)
        *ret = e->of[level].at[0].day;
    return level;
}

// Which days are to be closed and dropped, by age.
struct ends {
    uint32_t of[SPY_CLICK_LEVELS];
};

static struct ends find_ends(const struct expiry *e)
{
    struct ends ends = {{spy_click_window_day(0, get_bound(e, e->raw_ns)),
                         spy_click_window_day(0, get_bound(e, e->levels.minutes_ns)),
                         spy_click_window_day(0, get_bound(e, e->levels.hours_ns))}};
    return ends;
}

static int close_days(struct expiry *e, uint32_t end, struct spy_err *err)
{
    struct spy_click *s = e->s;
    int r = set_mark(e, SPY_CLICK_CLOSED, &e->marks.closed, end, err);
    if (r == 0 && (s->seen_closed != e->marks.closed || !s->closed_ns)) {
        s->seen_closed = e->marks.closed;
        s->closed_ns = spy_clock_mono_ns();
        s->clean_ns = 0;
    }
    pthread_mutex_lock(&s->write_lock);
    s->marks = e->marks;
    s->marks_read_ns = r == 0 ? spy_clock_mono_ns() : 0;
    pthread_mutex_unlock(&s->write_lock);
    return r;
}

// Collectors that have not read the marks yet store windows of closed days for half of the grace, and an
// insert takes a minute at most.
static bool are_closed_days_still(const struct spy_click *s)
{
    return spy_clock_mono_ns() - s->closed_ns >= get_grace_ns(s) / 4 * 3;
}

static int roll_up_closed(struct expiry *e, struct spy_err *err)
{
    struct spy_click *s = e->s;
    const struct days *d = &e->of[SPY_CLICK_WINDOW];
    bool written = false;
    int r = 0;
    if (!are_closed_days_still(s))
        return 0;
    for (size_t i = 0; i < d->n && d->at[i].day < e->marks.closed && r == 0; i++)
        r = spy_click_roll_up(s, d->at[i].day, UINT64_MAX, &written, err);
    if (r < 0 || (written && get_grace_ns(s)))
        s->clean_ns = 0;
    else if (!s->clean_ns)
        s->clean_ns = spy_clock_mono_ns();
    return r;
}

// Finding what is to be rolled up reads a column or two of all windows, so at most a twentieth of the
// time is spent with it.
static int roll_up_live(struct expiry *e, struct spy_err *err)
{
    struct spy_click *s = e->s;
    const struct days *d = &e->of[SPY_CLICK_WINDOW];
    uint64_t began = spy_clock_mono_ns(), settle = SETTLE_SECS * SPY_NS_PER_SEC;
    uint64_t until = e->now_ns > settle ? e->now_ns - settle : 0;
    bool written = false;
    int r = 0;
    if (s->rolled_ns && began - s->rolled_ns < s->roll_took_ns * ROLL_SHARE && get_grace_ns(s))
        return 0;
    for (size_t i = 0; i < d->n && r == 0; i++)
        if (d->at[i].day >= e->marks.closed)
            r = spy_click_roll_up(s, d->at[i].day, until, &written, err);
    s->rolled_ns = spy_clock_mono_ns();
    s->roll_took_ns = s->rolled_ns - began;
    return r;
}

static int drop_closed(struct expiry *e, struct spy_err *err)
{
    struct spy_click *s = e->s;
    if (!s->clean_ns || spy_clock_mono_ns() - s->clean_ns < get_grace_ns(s))
        return 0;
    int r = set_mark(e, SPY_CLICK_NO_WINDOWS, &e->marks.windows, e->marks.closed, err);
    return r == 0 ? drop_days_before(e, SPY_CLICK_WINDOW, e->marks.closed, err) : r;
}

// Nothing is dropped above a level that is there.
static int drop_rolled_days(struct expiry *e, const struct ends *ends, struct spy_err *err)
{
    uint32_t minutes = ends->of[SPY_CLICK_MINUTE], hours = ends->of[SPY_CLICK_HOUR];
    minutes = minutes < e->marks.windows ? minutes : e->marks.windows;
    int r = set_mark(e, SPY_CLICK_NO_MINUTES, &e->marks.minutes, minutes, err);
    if (r == 0)
        r = drop_days_before(e, SPY_CLICK_MINUTE, e->marks.minutes, err);
    hours = hours < e->marks.minutes ? hours : e->marks.minutes;
    if (r == 0)
        r = drop_days_before(e, SPY_CLICK_HOUR, hours, err);
    return r == 0 ? drop_days_before(e, SPY_CLICK_LEVELS, hours, err) : r;
}

static int drop_by_level(struct expiry *e, const struct ends *ends, struct spy_err *err)
{
    int r = close_days(e, ends->of[SPY_CLICK_WINDOW], err);
    if (r == 0)
        r = roll_up_closed(e, err);
    if (r == 0)
        r = drop_closed(e, err);
    return r == 0 ? drop_rolled_days(e, ends, err) : r;
}

// Windows go some minutes later than they are chosen: their day is closed first.
static int drop_days_to_size(struct expiry *e, struct ends *ends, bool *ret_is_full,
                             struct spy_err *err)
{
    int r = 0;
    *ret_is_full = false;
    while (r == 0 && sum_bytes_of(e) > e->max_bytes) {
        uint64_t before = sum_bytes_of(e);
        uint32_t day = 0;
        int level = choose_level_to_drop(e, &day);
        *ret_is_full = level == SPY_CLICK_LEVELS;
        if (*ret_is_full)
            return 0;
        if (ends->of[level] < day + 1)
            ends->of[level] = day + 1;
        r = drop_by_level(e, ends, err);
        if (sum_bytes_of(e) >= before)
            return r;
    }
    return r;
}

static int expire_levels(struct expiry *e, struct spy_err *err)
{
    struct ends ends = find_ends(e);
    bool is_full = false;
    int r = spy_click_marks_read(e->s, &e->marks, err);
    if (r == 0)
        r = drop_by_level(e, &ends, err);
    if (r == 0)
        r = roll_up_live(e, err);
    if (r == 0)
        r = drop_days_to_size(e, &ends, &is_full, err);
    if (r < 0)
        return r;
    note_days(e, ends.of[SPY_CLICK_HOUR]);
    set_horizon(e, get_bound(e, e->levels.hours_ns), is_full);
    return 0;
}

void spy_click_keep(struct spy_store *store, const struct spy_store_levels *levels)
{
    struct spy_click *s = (struct spy_click *)store;
    __atomic_store_n(&s->levels.minutes_ns, levels->minutes_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&s->levels.hours_ns, levels->hours_ns, __ATOMIC_RELAXED);
}

int spy_click_expire(struct spy_store *store, uint64_t now_ns, uint64_t raw_ns, uint64_t max_bytes,
                     struct spy_err *err)
{
    struct spy_click *s = (struct spy_click *)store;
    struct expiry e = {.s = s,
                       .levels = {__atomic_load_n(&s->levels.minutes_ns, __ATOMIC_RELAXED),
                                  __atomic_load_n(&s->levels.hours_ns, __ATOMIC_RELAXED)},
                       .now_ns = now_ns,
                       .raw_ns = raw_ns,
                       .max_bytes = max_bytes};
    int r = spy_click_prepare(s, err);
    pthread_mutex_lock(&s->expire_lock);
    if (r == 0)
        r = list_all_days(&e, err);
    if (r == 0)
        r = e.levels.hours_ns ? expire_levels(&e, err) : expire_windows(&e, err);
    pthread_mutex_unlock(&s->expire_lock);
    expiry_done(&e);
    return r;
}
