// marks.c - which days are closed, and which were dropped (levels.h).
#include "collector/store/clickhouse/levels.h"
#include "shared/base/clock.h"

static int read_mark_row(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    (void)err;
    struct spy_click_marks *m = arg;
    uint64_t what = spy_rowbin_number(r, 1);
    uint32_t day = (uint32_t)spy_rowbin_number(r, 2);
    if (r->is_short)
        return SPY_ERR_TORN;
    if (what == SPY_CLICK_CLOSED)
        m->closed = day;
    else if (what == SPY_CLICK_NO_WINDOWS)
        m->windows = day;
    else if (what == SPY_CLICK_NO_MINUTES)
        m->minutes = day;
    return 0;
}

int spy_click_marks_read(struct spy_click *s, struct spy_click_marks *ret, struct spy_err *err)
{
    struct spy_click_marks m = {0};
    int r = spy_click_call(
        s->link,
        &(struct spy_click_call){
            .sql = "SELECT what, toUInt16(max(day)) FROM marks GROUP BY what FORMAT RowBinary",
            .row = read_mark_row,
            .arg = &m,
            .agreed = true},
        err);
    if (r == 0)
        *ret = m;
    return r;
}

// A day is dropped grace_secs after it was closed, so marks of half that age are young enough.
int spy_click_marks_get(struct spy_click *s, struct spy_click_marks *ret, struct spy_err *err)
{
    uint64_t now = spy_clock_mono_ns(), grace = spy_click_link_place(s->link)->grace_secs;
    int r = 0;
    if (!s->marks_read_ns || now - s->marks_read_ns >= grace * SPY_NS_PER_SEC / 2) {
        r = spy_click_marks_read(s, &s->marks, err);
        s->marks_read_ns = r == 0 ? now : 0;
    }
    *ret = s->marks;
    return r;
}

int spy_click_mark(struct spy_click *s, enum spy_click_mark what, uint32_t day, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf row = SPY_BUF_INIT(64);
    spy_rowbin_put(&row, what, 1);
    spy_rowbin_put(&row, day, 2);
    return spy_click_call(
        s->link,
        &(struct spy_click_call){.sql = "INSERT INTO marks (what, day) FORMAT RowBinary",
                                 .rows = &row},
        err);
}
