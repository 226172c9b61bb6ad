// verify.c - looks for what is missing: each day's windows, and what they refer to. ClickHouse checks
// the bytes themselves, by their sums, whenever it reads them.
#include "collector/store/clickhouse/click.h"
#include <inttypes.h>
#include <stdio.h>

enum { VERIFY_SECS = 3600, SQL_BYTES = 400 };

static const struct {
    const char *what, *used, *there;
} checks[] = {
    {"series", "series AS id FROM windows", "series"},
    {"series", "series AS id FROM minutes", "series"},
    {"series", "series AS id FROM hours", "series"},
    {"stacks", "arrayJoin(stacks) AS id FROM windows", "stacks"},
    {"stacks", "arrayJoin(stacks) AS id FROM minutes", "stacks"},
    {"stacks", "arrayJoin(stacks) AS id FROM hours", "stacks"},
    {"frames", "arrayJoin(frames) AS id FROM stacks", "frames"},
};

static int read_missing(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    (void)err;
    uint64_t n = spy_rowbin_number(r, 8);
    if (r->is_short)
        return SPY_ERR_TORN;
    *(uint64_t *)arg = n;
    return 0;
}

// Version 1 counted a window that ends at midnight, and its names, to the next day.
static int count_missing(struct spy_click *s, size_t i, unsigned max_secs, uint64_t *ret,
                         struct spy_err *err)
{
    char sql[SQL_BYTES];
    snprintf(sql, sizeof sql,
             "SELECT toUInt64(count()) FROM (SELECT DISTINCT day, %s) "
             "WHERE (day, id) NOT IN (SELECT day, id FROM %s) AND "
             "(toUInt16(day + 1), id) NOT IN (SELECT day, id FROM %s) FORMAT RowBinary",
             checks[i].used, checks[i].there, checks[i].there);
    return spy_click_call(
        s->link,
        &(struct spy_click_call){
            .sql = sql, .row = read_missing, .arg = ret, .secs = max_secs ? max_secs : VERIFY_SECS},
        err);
}

int spy_click_verify(struct spy_store *store, unsigned max_secs, struct spy_err *err)
{
    struct spy_click *s = (struct spy_click *)store;
    struct spy_err mine = {0};
    int r = spy_click_prepare(s, &mine);
    for (size_t i = 0; i < sizeof checks / sizeof *checks && r == 0; i++) {
        uint64_t missing = 0;
        r = count_missing(s, i, max_secs, &missing, &mine);
        if (r == 0 && missing)
            r = spy_err_set(&mine, SPY_ERR_IO, 0,
                            "%" PRIu64 " %s that windows refer to are missing in ClickHouse: "
                            "restore its backup, or let retention drop these days",
                            missing, checks[i].what);
    }
    if (max_secs && (r == SPY_ERR_LIMIT || r == SPY_ERR_AGAIN)) // the time is over, or it is away
        return 0;
    if (r < 0 && err)
        *err = mine;
    return r;
}
