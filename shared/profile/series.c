// series.c - windows of one series become one.
#include "shared/base/mem.h"
#include "shared/profile/profile.h"
#include <string.h>

void spy_quality_add(struct spy_quality *d, const struct spy_quality *s)
{
#define ADD(name, ...) d->name = spy_add_sat(d->name, s->name);
    SPY_QUALITY(ADD)
#undef ADD
}

bool spy_quality_is_zero(const struct spy_quality *q)
{
#define OR(name, ...) | q->name
    return (0 SPY_QUALITY(OR)) == 0;
#undef OR
}

static double rounds_of(const struct spy_series *s)
{
    return (double)s->duration_ns / (double)s->period_ns;
}

// The time of both over the rounds of both, so that all samples together still stand for that time.
// It lies between the two; in doubles it may come out a little beyond.
static uint64_t join_periods(const struct spy_series *d, const struct spy_series *s)
{
    double mean = ((double)d->duration_ns + (double)s->duration_ns) / (rounds_of(d) + rounds_of(s));
    uint64_t low = d->period_ns < s->period_ns ? d->period_ns : s->period_ns;
    uint64_t high = d->period_ns < s->period_ns ? s->period_ns : d->period_ns;
    return mean <= (double)low ? low : mean >= (double)high ? high : (uint64_t)mean;
}

void spy_series_unite(struct spy_series *d, const struct spy_series *s)
{
    spy_quality_add(&d->quality, &s->quality);
    spy_account_unite(&d->account, &s->account);
    if (!s->start_ns && !s->duration_ns)
        return;
    if (d->period_ns && s->period_ns && (d->duration_ns || s->duration_ns))
        d->period_ns = join_periods(d, s);
    else if (s->period_ns)
        d->period_ns = s->period_ns;
    if (!d->start_ns && !d->duration_ns) {
        d->start_ns = s->start_ns;
        d->duration_ns = s->duration_ns;
        memcpy(d->profile_id, s->profile_id, sizeof d->profile_id);
        return;
    }
    uint64_t end_d = spy_add_sat(d->start_ns, d->duration_ns);
    uint64_t end_s = spy_add_sat(s->start_ns, s->duration_ns);
    d->start_ns = d->start_ns < s->start_ns ? d->start_ns : s->start_ns;
    d->duration_ns = (end_d > end_s ? end_d : end_s) - d->start_ns;
    memset(d->profile_id, 0, sizeof d->profile_id); // two windows: no single id any more
}
