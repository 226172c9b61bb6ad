// The values that the store keeps in one column: samples and sums. What can be read is written and
// read again, and must be the same.
#include "collector/store/sqlite/rows.h"
#include "collector/store/sqlite/sums.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

static void try_sums(const uint8_t *data, size_t len)
{
    struct spy_sums a, b;
    _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(1024);
    if (spy_sums_decode(data, len, &a) < 0)
        return;
    spy_sums_encode(&a, &out);
    MUST(!out.failed && spy_sums_decode(out.data, out.len, &b) == 0);
    MUST(a.windows == b.windows && a.samples == b.samples);
    MUST(a.series.start_ns == b.series.start_ns && a.series.period_ns == b.series.period_ns);
    MUST(!memcmp(&a.series.quality, &b.series.quality, sizeof a.series.quality));
    MUST(!memcmp(&a.series.account, &b.series.account, sizeof a.series.account));
    spy_sums_add(&a, &b);
    MUST(a.windows >= b.windows && a.samples >= b.samples);
}

static void try_rows(const uint8_t *data, size_t len)
{
    enum { MOST = 4096, PERIOD = 10000000 };
    static struct spy_row rows[MOST];
    struct spy_rows_reader r = {.at = data, .end = data + len, .period_ns = PERIOD};
    _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(1 << 20);
    size_t n = 0;
    while (n < MOST && spy_rows_next(&r, &rows[n]) > 0)
        n++;
    n = spy_rows_merge(rows, n);
    spy_rows_encode(rows, n, PERIOD, &out);
    MUST(!out.failed);
    r = (struct spy_rows_reader){
        .at = out.data, .end = out.data ? out.data + out.len : NULL, .period_ns = PERIOD};
    struct spy_row row;
    for (size_t i = 0; i < n; i++) {
        MUST(spy_rows_next(&r, &row) == 1);
        MUST(row.stack == rows[i].stack && row.thread == rows[i].thread);
        MUST(row.state == rows[i].state && row.count == rows[i].count && row.ns == rows[i].ns);
    }
    MUST(spy_rows_next(&r, &row) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    try_sums(data, len);
    try_rows(data, len);
    return 0;
}
