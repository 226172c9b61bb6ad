#include "collector/store/sqlite/sums.h"
#include "collector/store/sqlite/rows.h"
#include "shared/base/err.h"
#include "shared/base/mem.h"
#include <string.h>

enum { N_NUMBERS = 2 + 3 + SPY_QUALITY_N + 2 * SPY_COUNTERS + 3 };

void spy_sums_add(struct spy_sums *d, const struct spy_sums *s)
{
    d->windows = spy_add_sat(d->windows, s->windows);
    d->samples = spy_add_sat(d->samples, s->samples);
    spy_series_unite(&d->series, &s->series);
}

static void list_numbers(struct spy_sums *s, uint64_t *to[N_NUMBERS])
{
    struct spy_series *w = &s->series;
    uint64_t *const first[] = {&s->windows, &s->samples, &w->start_ns, &w->duration_ns,
                               &w->period_ns};
    size_t n = 0;
    for (size_t i = 0; i < SPY_COUNT(first); i++)
        to[n++] = first[i];
#define PUT(name, ...) to[n++] = &w->quality.name;
    SPY_QUALITY(PUT)
#undef PUT
    for (int c = 0; c < SPY_COUNTERS; c++) {
        to[n++] = &w->account.counted[c].sum;
        to[n++] = &w->account.counted[c].of_ns;
    }
    to[n++] = &w->account.running_ns;
    to[n++] = &w->account.runnable_ns;
    to[n] = &w->account.period_ns;
}

void spy_sums_encode(const struct spy_sums *s, struct spy_buf *out)
{
    struct spy_sums copy = *s;
    uint64_t *numbers[N_NUMBERS];
    list_numbers(&copy, numbers);
    for (size_t i = 0; i < N_NUMBERS; i++)
        spy_row_put_number(out, *numbers[i]);
    if (s->windows == 1)
        spy_buf_append(out, s->series.profile_id, sizeof s->series.profile_id);
}

int spy_sums_decode(const uint8_t *data, size_t len, struct spy_sums *ret)
{
    struct spy_sums s = {0};
    struct spy_rows_reader r = {.at = data, .end = data ? data + len : NULL};
    uint64_t *numbers[N_NUMBERS];
    list_numbers(&s, numbers);
    for (size_t i = 0; i < N_NUMBERS; i++)
        if (!spy_row_get_number(&r, numbers[i]))
            return SPY_ERR_INVALID;
    size_t left = (size_t)(r.end - r.at), want = s.windows == 1 ? sizeof s.series.profile_id : 0;
    if (left != want)
        return SPY_ERR_INVALID;
    if (want)
        memcpy(s.series.profile_id, r.at, want);
    *ret = s;
    return 0;
}
