// The rows that a ClickHouse answers with: whatever they hold, what is read from them stays inside.
#include "collector/store/clickhouse/click.h"
#include "tests/fuzz/fuzz.h"

static uint64_t touch(const void *data, size_t len)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum += ((const uint8_t *)data)[i];
    return sum;
}

static void read_one_window(const uint8_t *data, size_t len)
{
    struct spy_rowbin r = {.at = data, .end = data + len};
    struct spy_click_window w;
    volatile uint64_t sum = 0;
    if (spy_click_read_head(&r, &w, NULL) < 0 || spy_click_read_threads(&r, &w, NULL) < 0 ||
        spy_click_read_rows(&r, &w, NULL) < 0)
        return;
    sum += touch(w.series, SPY_ID) + touch(w.stacks, w.n_stacks * SPY_ID);
    sum += touch(w.tids, w.n_threads * 8);
    for (size_t i = 0; i < w.n_threads; i++) {
        struct spy_click_text t = spy_click_next_text(&w.names);
        sum += touch(t.at, t.len);
    }
    for (size_t i = 0; i < w.n_rows; i++) {
        struct spy_sample s;
        if (spy_click_row(&w, i, &s))
            MUST(s.stack <= w.n_stacks && s.thread <= w.n_threads);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct spy_rowbin r = {.at = data, .end = data + len};
    struct spy_click_labels l;
    volatile uint64_t sum = 0;
    read_one_window(data, len);
    if (spy_click_read_labels(&r, &l, NULL) < 0)
        return 0;
    for (size_t i = 0; i < l.n; i++)
        sum += touch(l.keys[i].at, l.keys[i].len) + touch(l.values[i].at, l.values[i].len);
    return 0;
}
