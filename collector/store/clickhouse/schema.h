// schema.h - the tables of the ClickHouse store. Inside of store/clickhouse.
//
// Ids are the first 16 bytes of SHA-256 sums of what they name, so collectors that never talk to each
// other write the same ids, and nobody can make two names share one. All tables but `schema`,
// `marks` and `checks` are partitioned by day, the day (since 1970) that the windows end in, and a day refers to rows
// of the same day alone: dropping a day's partitions leaves nothing behind that points to them.
//
//   series   {id, keys, values}: labels, sorted by key
//   frames   {id, name, filename, start_line, kind, line}
//   stacks   {id, frames}: ids of frames, root first. The root, of no frames, has no row
//   windows  one row is a window with all its samples, so it is stored whole or not at all
//            tids, names: threads; stacks: ids; row_*: samples. row_thread and row_stack count from 1
//            in these arrays, 0 is "not known" and the root; row_extra: ns - count * period_ns, mod 2^64
//            known: bit c for counter c of spy_counter_names; 0: it was not counted
//   minutes, hours  the sums of a series' windows by the minute and by the hour (levels.h), as rows of the
//            form of `windows`. bucket: the minute or hour since 1970; windows: how many it sums, and the
//            version by which a more complete row replaces another; ids: their profile_ids (in hours of
//            a single window alone); *_of_ns: the time each counter was counted in; profile_id: zeros;
//            else the row is one window that came after the windows of its day had been closed
//   marks    {what, day}: all days before `day` are closed (1), their windows (2) or minutes (3) dropped
//   checks   {id, at_ns}: 1: a row that the readiness check writes; 2: the latest trusted time
//   schema   {version, at_ns}: the versions whose changes were made
//
// A window that was sent twice can have two rows until ClickHouse merges them; every reader counts a
// profile_id once.
//
// Threads: any.
#pragma once
#include "collector/store/clickhouse/link.h"
#include "shared/profile/profile.h"

enum { SPY_CLICK_VERSION = 2 }; // 2: minutes, hours, marks

#define SPY_CLICK_QUALITY_COLUMN(name, ...) #name ", "
// What stands in front of a window's samples.
#define SPY_CLICK_HEAD                                                                             \
    "series, end_ns, profile_id, start_ns, period_ns, " SPY_QUALITY(                               \
        SPY_CLICK_QUALITY_COLUMN) "samples, rows, known, cpu_ns, runqueue_ns, throttled_ns, "      \
                                  "throttled_periods, "                                            \
                                  "running_ns, runnable_ns"
#define SPY_CLICK_THREADS "tids, names"
#define SPY_CLICK_STATES  "row_state, row_count, row_extra"
#define SPY_CLICK_ROWS    "stacks, row_stack, row_thread, " SPY_CLICK_STATES

// What stands in front of the samples of a roll-up; ids follow.
#define SPY_CLICK_ROLLED                                                                           \
    "bucket, windows, " SPY_CLICK_HEAD ", cpu_of_ns, runqueue_of_ns, throttled_of_ns, "            \
    "throttled_periods_of_ns, most_period_ns, "

#define SPY_CLICK_INSERT_ROLLED(table)                                                             \
    "INSERT INTO " table " (day, " SPY_CLICK_ROLLED "ids, " SPY_CLICK_THREADS ", " SPY_CLICK_ROWS  \
    ") FORMAT RowBinary"

#define SPY_CLICK_DAY_NS   (86400 * UINT64_C(1000000000))
#define SPY_CLICK_TIME_MAX ((uint64_t)INT64_MAX)
static inline uint32_t spy_click_day(uint64_t end_ns)
{
    uint64_t day = end_ns / SPY_CLICK_DAY_NS;
    return day < UINT16_MAX ? (uint32_t)day : UINT16_MAX;
}
// The day of a window. What ends with a day is of that day, as with minutes and hours; version 1 counted
// a window that ends at midnight to the next day.
static inline uint32_t spy_click_window_day(uint64_t start_ns, uint64_t end_ns)
{
    return spy_click_day(end_ns - (end_ns > start_ns));
}

enum spy_click_level { SPY_CLICK_WINDOW, SPY_CLICK_MINUTE, SPY_CLICK_HOUR, SPY_CLICK_LEVELS };
static inline uint64_t spy_click_level_ns(int level) // of a roll-up
{
    return (level == SPY_CLICK_HOUR ? 3600 : 60) * UINT64_C(1000000000);
}
// The minute or hour that a window belongs to.
static inline uint32_t spy_click_bucket(int level, uint64_t start_ns, uint64_t end_ns)
{
    return (uint32_t)((end_ns - (end_ns > start_ns)) / spy_click_level_ns(level));
}
static inline uint32_t spy_click_bucket_day(int level, uint32_t bucket)
{
    return spy_click_day(bucket * spy_click_level_ns(level));
}

// Makes the database and what is missing of the tables. SPY_ERR_INVALID: they are of a later version.
int spy_click_schema_make(struct spy_click_link *l, struct spy_err *err);
// The same without making anything: SPY_ERR_NOTFOUND if there are no tables.
int spy_click_schema_check(struct spy_click_link *l, struct spy_err *err);
