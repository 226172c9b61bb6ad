#include "collector/store/sqlite/levels.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int spy_level_state_read(sqlite3 *db, struct spy_level_state *ret, struct spy_err *err)
{
    _cleanup_stmt_ sqlite3_stmt *q = NULL;
    int code, r = spy_db_prepare(db, "SELECT level, done, dropped FROM levels", &q, err);
    if (r < 0)
        return r;
    while ((code = sqlite3_step(q)) == SQLITE_ROW) {
        int64_t level = sqlite3_column_int64(q, 0);
        if (level < 0 || level >= SPY_LEVELS)
            return spy_db_damaged(db, err, "a level is not known");
        if (level == SPY_LEVEL_WINDOWS)
            ret->done = sqlite3_column_int64(q, 1);
        ret->dropped[level] = sqlite3_column_int64(q, 2);
    }
    return code == SQLITE_DONE ? 0 : spy_db_failed(db, err, "reading");
}

static int64_t divide_up(int64_t ns, int64_t unit)
{
    return ns / unit + (ns % unit > 0);
}

struct span {
    int64_t first, end; // of buckets
};

// The roll-ups that lie inside of [from, until), and those that stand for what was dropped below.
static struct span span_of(int level, int64_t from, int64_t until, int64_t dropped)
{
    int64_t unit = spy_level_ns(level), first = from / unit, gone = divide_up(dropped, unit);
    struct span s = {first < gone ? first : divide_up(from, unit), until / unit};
    s.end = s.end > gone ? s.end : gone;
    return s.first < s.end ? s : (struct span){s.first, s.first};
}

__attribute__((format(printf, 3, 4))) static void plan_source(struct spy_plan *p, int level,
                                                              const char *fmt, ...)
{
    struct spy_source *s = &p->sources[p->n++];
    va_list args;
    s->level = level;
    va_start(args, fmt);
    vsnprintf(s->where, sizeof s->where, fmt, args);
    va_end(args);
}

static void add_rollups(struct spy_plan *p, int level, int64_t first, int64_t end)
{
    if (first < end)
        plan_source(p, level,
                    " AND w.level = %d AND w.bucket >= %" PRId64 " AND w.bucket < %" PRId64, level,
                    first, end);
}

// The windows beside the minutes [first, end), and those in them that are not rolled up.
static void add_windows(struct spy_plan *p, int64_t first, int64_t end, int64_t done)
{
#define IN "(w.end_ns - (w.end_ns > w.start_ns))"
    int64_t unit = spy_level_ns(SPY_LEVEL_MINUTES);
    int64_t from = first * unit, to = end > INT64_MAX / unit ? INT64_MAX : end * unit;
    plan_source(p, SPY_LEVEL_WINDOWS, " AND w.end_ns <= %" PRId64 " AND " IN " < %" PRId64, from,
                from);
    plan_source(p, SPY_LEVEL_WINDOWS, " AND w.end_ns >= %" PRId64 " AND " IN " >= %" PRId64, to,
                to);
    plan_source(p, SPY_LEVEL_WINDOWS,
                " AND w.id > %" PRId64 " AND " IN " >= %" PRId64 " AND " IN " < %" PRId64, done,
                from, to);
#undef IN
}

int spy_plan_make(sqlite3 *db, const struct spy_select *select, struct spy_plan *ret,
                  struct spy_err *err)
{
    struct spy_level_state state = {0};
    int64_t from = spy_db_time(select->from_ns), until = spy_db_time(select->until_ns);
    int r = spy_level_state_read(db, &state, err);
    if (r < 0)
        return r;
    *ret = (struct spy_plan){0};
    struct span hours = span_of(SPY_LEVEL_HOURS, from, until, state.dropped[SPY_LEVEL_MINUTES]);
    struct span minutes = span_of(SPY_LEVEL_MINUTES, from, until, state.dropped[SPY_LEVEL_WINDOWS]);
    struct span covered = minutes;
    if (hours.first < hours.end) {
        struct span as = {hours.first * 60, hours.end * 60};
        covered.first = as.first < minutes.first ? as.first : minutes.first;
        covered.end = as.end > minutes.end ? as.end : minutes.end;
        add_rollups(ret, SPY_LEVEL_MINUTES, covered.first, as.first);
        add_rollups(ret, SPY_LEVEL_HOURS, hours.first, hours.end);
        add_rollups(ret, SPY_LEVEL_MINUTES, as.end, covered.end);
    } else {
        add_rollups(ret, SPY_LEVEL_MINUTES, minutes.first, minutes.end);
    }
    if (!state.done || covered.first >= covered.end) {
        ret->n = 0;
        plan_source(ret, SPY_LEVEL_WINDOWS, "%s", "");
        return 0;
    }
    add_windows(ret, covered.first, covered.end, state.done);
    return 0;
}

// --- by steps ---

static int64_t max_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// The roll-ups of this level that stand for what was dropped below and begin in the part.
static struct span find_dropped(int level, const struct spy_plan_part *part, int64_t dropped)
{
    int64_t unit = spy_level_ns(level);
    struct span s = {part->is_first ? part->from / unit : divide_up(part->from, unit),
                     divide_up(dropped, unit)};
    s.end = part->is_last ? s.end : min_of(s.end, divide_up(part->until, unit));
    s.end = max_of(s.first, s.end);
    return s;
}

// The windows that are rolled up and end in [from, until).
static void add_ending(struct spy_plan *p, int64_t from, int64_t until, int64_t done)
{
#define IN "(w.end_ns - (w.end_ns > w.start_ns))"
    if (from >= until)
        return;
    p->sources[p->n].from_ns = from;
    plan_source(p, SPY_LEVEL_WINDOWS,
                " AND w.end_ns <= %" PRId64 " AND " IN " >= %" PRId64 " AND " IN " < %" PRId64
                " AND w.id <= %" PRId64,
                until, from, until, done);
#undef IN
}

// Hours, and minutes beside them, for the minutes of `live`, whose windows are there.
static void add_live(struct spy_plan *p, struct span live, int64_t dropped_hours)
{
    struct span hours = {max_of(divide_up(live.first, 60), dropped_hours), live.end / 60};
    if (hours.first >= hours.end) {
        add_rollups(p, SPY_LEVEL_MINUTES, live.first, live.end);
        return;
    }
    add_rollups(p, SPY_LEVEL_MINUTES, live.first, hours.first * 60);
    add_rollups(p, SPY_LEVEL_HOURS, hours.first, hours.end);
    add_rollups(p, SPY_LEVEL_MINUTES, hours.end * 60, live.end);
}

// A roll-up in the first whole minute can hold windows that begin before it, so it is not used.
void spy_plan_step(const struct spy_level_state *state, struct spy_plan_part *part,
                   struct spy_plan *ret)
{
    int64_t minute = spy_level_ns(SPY_LEVEL_MINUTES), hour = spy_level_ns(SPY_LEVEL_HOURS);
    int64_t no_windows = state->dropped[SPY_LEVEL_WINDOWS];
    int64_t no_minutes = state->dropped[SPY_LEVEL_MINUTES];
    *ret = (struct spy_plan){0};
    if (part->is_first)
        plan_source(ret, SPY_LEVEL_WINDOWS, " AND w.id > %" PRId64, state->done);
    if (!state->done)
        return;
    int64_t no_hours = divide_up(no_minutes, hour);
    int64_t there = max_of(divide_up(no_windows, minute), no_hours * 60);
    struct span hours = find_dropped(SPY_LEVEL_HOURS, part, no_minutes);
    struct span minutes = find_dropped(SPY_LEVEL_MINUTES, part, no_windows);
    struct span live = {max_of(there, divide_up(part->from, minute) + 1), part->until / minute};
    add_rollups(ret, SPY_LEVEL_HOURS, hours.first, hours.end);
    add_rollups(ret, SPY_LEVEL_MINUTES, max_of(minutes.first, no_hours * 60), minutes.end);
    part->windows_from = max_of(part->windows_from, there * minute);
    if (part->rolls_up && live.first < live.end) {
        add_live(ret, live, no_hours);
        add_ending(ret, part->windows_from, live.first * minute, state->done);
        part->windows_from = live.end * minute;
    }
    if (part->is_last)
        add_ending(ret, part->windows_from, INT64_MAX, state->done);
}

#define WINDOW_COLUMNS                                                                             \
    "SELECT w.series, w.rows, w.id, w.samples, w.profile_id, w.start_ns, w.end_ns, "               \
    "w.period_ns," SPY_SQLITE_QUALITY SPY_SQLITE_ACCOUNT " FROM windows w"
enum { QUALITY = 8, ACCOUNT = QUALITY + SPY_QUALITY_N }; // columns
#define ROLLUP_COLUMNS "SELECT w.series, w.rows, w.sums, w.data FROM "

static int select_source(sqlite3 *db, const char *head, const struct spy_source *source,
                         const struct spy_select *select, const char *more, sqlite3_stmt **ret,
                         struct spy_err *err)
{
    char tail[sizeof source->where + 96];
    if (snprintf(tail, sizeof tail, "%s%s", source->where, more) >= (int)sizeof tail)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "a condition is too long");
    return spy_sqlite_select(db, head, select, tail, ret, err);
}

int spy_source_select(sqlite3 *db, const struct spy_source *source, const struct spy_select *select,
                      const char *more, sqlite3_stmt **ret, struct spy_err *err)
{
    const char *head = source->level ? ROLLUP_COLUMNS "rollups w" : WINDOW_COLUMNS;
    return select_source(db, head, source, select, more, ret, err);
}

// Sorts only the ids of roll-ups, as their samples would be copied for it. (LIMIT keeps SQLite
// from sorting the outer rows instead.)
int spy_source_select_by_series(sqlite3 *db, const struct spy_source *source,
                                const struct spy_select *select, sqlite3_stmt **ret,
                                struct spy_err *err)
{
    if (!source->level)
        return select_source(db, WINDOW_COLUMNS, source, select, " ORDER BY w.series, w.end_ns",
                             ret, err);
    return select_source(db, ROLLUP_COLUMNS "(SELECT w.id AS id FROM rollups w", source, select,
                         " ORDER BY w.series LIMIT -1) s CROSS JOIN rollups w ON w.id = s.id", ret,
                         err);
}

static void read_window_row(sqlite3_stmt *q, struct spy_source_row *ret)
{
    struct spy_series *w = &ret->sums.series;
    uint64_t start = (uint64_t)sqlite3_column_int64(q, 5);
    uint64_t end = (uint64_t)sqlite3_column_int64(q, 6);
    ret->window = sqlite3_column_int64(q, 2);
    ret->sums.windows = 1;
    ret->sums.samples = (uint64_t)sqlite3_column_int64(q, 3);
    *w = (struct spy_series){.start_ns = start,
                             .duration_ns = end > start ? end - start : 0,
                             .period_ns = (uint64_t)sqlite3_column_int64(q, 7),
                             .quality = spy_sqlite_quality(q, QUALITY)};
    w->account = spy_sqlite_account(q, ACCOUNT, w->duration_ns);
    w->account.period_ns = w->period_ns;
    if (sqlite3_column_bytes(q, 4) == sizeof w->profile_id)
        memcpy(w->profile_id, sqlite3_column_blob(q, 4), sizeof w->profile_id);
}

int spy_source_read(sqlite3 *db, sqlite3_stmt *q, const struct spy_source *source,
                    struct spy_source_row *ret, struct spy_err *err)
{
    *ret = (struct spy_source_row){.series = sqlite3_column_int64(q, 0),
                                   .rows = sqlite3_column_int64(q, 1)};
    if (!source->level) {
        read_window_row(q, ret);
        return 0;
    }
    const uint8_t *sums = sqlite3_column_blob(q, 2);
    if (spy_sums_decode(sums, (size_t)sqlite3_column_bytes(q, 2), &ret->sums) < 0)
        return spy_db_damaged(db, err, "a roll-up's sums cannot be read");
    ret->data = sqlite3_column_blob(q, 3);
    ret->len = (size_t)sqlite3_column_bytes(q, 3);
    return 0;
}
