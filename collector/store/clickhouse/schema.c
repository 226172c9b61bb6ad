#include "collector/store/clickhouse/schema.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <inttypes.h>
#include <stdio.h>

enum { SQL_BYTES = 4 << 10, GRANULE = 256 };

#define QUALITY_COLUMN(name, ...) #name " UInt64, "
#define ID                        "FixedString(16)"

#define SAMPLE_COLUMNS                                                                             \
    "tids Array(UInt64), names Array(String), stacks Array(" ID "), row_stack Array(UInt32), "     \
    "row_thread Array(UInt32), row_state Array(UInt8), row_count Array(UInt64), "                  \
    "row_extra Array(UInt64)"
#define HEAD_COLUMNS                                                                               \
    "profile_id " ID ", start_ns UInt64, period_ns UInt64, " SPY_QUALITY(                          \
        QUALITY_COLUMN) "samples UInt64, rows UInt32, known UInt8, cpu_ns UInt64, "                \
                        "runqueue_ns UInt64, throttled_ns UInt64, throttled_periods UInt64, "      \
                        "running_ns UInt64, runnable_ns UInt64, "
#define ROLLED_COLUMNS                                                                             \
    "day UInt16, series " ID ", bucket UInt32, windows UInt32, end_ns UInt64, " HEAD_COLUMNS       \
    "cpu_of_ns UInt64, runqueue_of_ns UInt64, throttled_of_ns UInt64, "                            \
    "throttled_periods_of_ns UInt64, most_period_ns UInt64, ids Array(" ID "), " SAMPLE_COLUMNS

// Each row is made with IF NOT EXISTS, so any collector may do so at any time. A later version adds
// rows and statements; it never changes these.
static const struct {
    const char *name, *columns, *order;
    const char *version; // the column by which one row replaces another; NULL: equal rows do
    bool by_day;
} tables[] = {
    {"series", "day UInt16, id " ID ", keys Array(String), values Array(String)", "id", NULL, true},
    {"frames",
     "day UInt16, id " ID ", name String, filename String, start_line UInt32, kind UInt8, "
     "line UInt32",
     "id", NULL, true},
    {"stacks", "day UInt16, id " ID ", frames Array(" ID ")", "id", NULL, true},
    {"windows", "day UInt16, series " ID ", end_ns UInt64, " HEAD_COLUMNS SAMPLE_COLUMNS,
     "series, end_ns, profile_id", NULL, true},
    {"minutes", ROLLED_COLUMNS, "series, bucket, profile_id", "windows", true},
    {"hours", ROLLED_COLUMNS, "series, bucket, profile_id", "windows", true},
    {"marks", "what UInt8, day UInt16", "what, day", NULL, false},
    {"checks", "id UInt16, at_ns UInt64", "id", NULL, false},
    {"schema", "version UInt16, at_ns UInt64", "version", NULL,
     false}, // last: it says that all are there
};

static void put_engine(struct spy_buf *sql, const struct spy_click_place *p, const char *table,
                       const char *version)
{
    if (p->replicas)
        spy_buf_printf(sql,
                       " ENGINE = ReplicatedReplacingMergeTree("
                       "'/clickhouse/tables/{shard}/%s/%s', '{replica}'%s%s)",
                       p->database, table, version ? ", " : "", version ? version : "");
    else
        spy_buf_printf(sql, " ENGINE = ReplacingMergeTree(%s)", version ? version : "");
}

static int make_table(struct spy_click_link *l, size_t i, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf sql = SPY_BUF_INIT(SQL_BYTES);
    spy_buf_printf(&sql, "CREATE TABLE IF NOT EXISTS %s (%s)", tables[i].name, tables[i].columns);
    put_engine(&sql, spy_click_link_place(l), tables[i].name, tables[i].version);
    spy_buf_printf(&sql, "%s ORDER BY (%s) SETTINGS index_granularity = %d",
                   tables[i].by_day ? " PARTITION BY day" : "", tables[i].order, GRANULE);
    if (sql.failed)
        return spy_err_nomem(err);
    return spy_click_call(l, &(struct spy_click_call){.sql = spy_buf_str(&sql)}, err);
}

static int check_version(struct spy_click_link *l, uint64_t *ret, struct spy_err *err)
{
    int r =
        spy_click_number(l, "SELECT toUInt64(max(version)) FROM schema FORMAT RowBinary", ret, err);
    if (r == 0 && *ret > SPY_CLICK_VERSION)
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "the tables in ClickHouse are of version %" PRIu64
                           " and this collector knows version %d: use a newer collector, or "
                           "another store.database",
                           *ret, SPY_CLICK_VERSION);
    return r;
}

static int make_database(struct spy_click_link *l, struct spy_err *err)
{
    char sql[SPY_CLICK_TEXT + 64];
    snprintf(sql, sizeof sql, "CREATE DATABASE IF NOT EXISTS %s",
             spy_click_link_place(l)->database);
    return spy_click_call(l, &(struct spy_click_call){.sql = sql, .outside = true}, err);
}

static int note_version(struct spy_click_link *l, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf row = SPY_BUF_INIT(64);
    spy_rowbin_put(&row, SPY_CLICK_VERSION, 2);
    spy_rowbin_put(&row, spy_clock_real_ns(), 8);
    return spy_click_call(
        l,
        &(struct spy_click_call){.sql = "INSERT INTO schema (version, at_ns) FORMAT RowBinary",
                                 .rows = &row},
        err);
}

int spy_click_schema_make(struct spy_click_link *l, struct spy_err *err)
{
    uint64_t version = 0;
    int r = check_version(l, &version, err);
    if (r == 0 && version == SPY_CLICK_VERSION)
        return 0;
    if (r < 0 && r != SPY_ERR_NOTFOUND)
        return r;
    if (r < 0) // who may use a database need not be allowed to make one
        r = make_database(l, err);
    for (size_t i = 0; i < SPY_COUNT(tables) && r == 0; i++)
        r = make_table(l, i, err);
    if (r == 0)
        r = note_version(l, err);
    return r < 0 ? spy_err_context(err, r, "making the tables") : 0;
}

int spy_click_schema_check(struct spy_click_link *l, struct spy_err *err)
{
    uint64_t version = 0;
    return check_version(l, &version, err);
}
