#include "shared/profile/account.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include "shared/profile/profile.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DIFFERS_SHARE 0.02 // two points of a CPU
#define DIFFERS_PART  0.1  // and a tenth of what the kernel counted
#define CHANCE        3    // standard errors
#define WORTH_SAYING  0.01 // of running: less waiting than that is not told apart

const struct spy_counter_name spy_counter_names[SPY_COUNTERS] = {
    [SPY_CPU] = {"cpu_ns", "podspy.cpu.ns"},
    [SPY_RUNQUEUE] = {"runqueue_ns", "podspy.runqueue.ns"},
    [SPY_THROTTLED] = {"throttled_ns", "podspy.throttled.ns"},
    [SPY_PERIODS] = {"throttled_periods", "podspy.throttled.periods"},
};

static double share_of(uint64_t ns, uint64_t of_ns)
{
    return of_ns ? (double)ns / (double)of_ns : 0;
}

double spy_account_share(const struct spy_account *a, enum spy_counter c)
{
    return share_of(a->counted[c].sum, a->counted[c].of_ns);
}

void spy_account_unite(struct spy_account *d, const struct spy_account *s)
{
    for (int c = 0; c < SPY_COUNTERS; c++) {
        d->counted[c].sum = spy_add_sat(d->counted[c].sum, s->counted[c].sum);
        d->counted[c].of_ns = spy_add_sat(d->counted[c].of_ns, s->counted[c].of_ns);
    }
    d->running_ns = spy_add_sat(d->running_ns, s->running_ns);
    d->runnable_ns = spy_add_sat(d->runnable_ns, s->runnable_ns);
    d->period_ns = s->period_ns > d->period_ns ? s->period_ns : d->period_ns;
}

// --- of many processes ---

// What shares one wall time: all processes, or those under one limit.
struct group {
    uint32_t container; // the string of its id; 0: not known
    uint64_t start, end;
    struct spy_account account;
};

static void add_to_group(struct group *g, const struct spy_series *s)
{
    uint64_t end = spy_add_sat(s->start_ns, s->duration_ns);
    g->start = !g->end || s->start_ns < g->start ? s->start_ns : g->start;
    g->end = end > g->end ? end : g->end;
    spy_account_unite(&g->account, &s->account);
}

// Processes that ran one after the other add up in time, those at once do not: the smaller of the
// span and the sum is right for both.
static uint64_t wall_of(const struct group *g, enum spy_counter c)
{
    uint64_t sum = g->account.counted[c].of_ns, span = g->end - g->start;
    return sum < span ? sum : span;
}

struct limits {
    struct group *list;
    size_t n, cap;
    struct spy_map by_container; // the id of the label's text -> list
};

static uint32_t container_of(const struct spy_profile *p, const struct spy_series *s)
{
    for (uint32_t i = 0; i < s->n_labels; i++) {
        const struct spy_label *l = spy_profile_label_at(p, s->first_label + i);
        if (!strcmp(spy_profile_text(p, l->key), SPY_LABEL_CONTAINER_ID))
            return l->value;
    }
    return 0;
}

static int limit_of(struct limits *l, uint32_t container, struct group **ret)
{
    // Where it is not known each has its own.
    uint64_t hash = spy_hash_mix(container, container ? 0 : l->n + 1);
    for (uint32_t at = SPY_MAP_FIRST, i;
         container && (i = spy_map_next(&l->by_container, hash, &at)) != SPY_MAP_NONE;)
        if (l->list[i].container == container) {
            *ret = &l->list[i];
            return 0;
        }
    int r = spy_grow(&l->list, &l->cap, l->n + 1, sizeof *l->list, 1 << 28);
    if (r == 0)
        r = spy_map_add(&l->by_container, hash, (uint32_t)l->n);
    if (r < 0)
        return r;
    l->list[l->n] = (struct group){.container = container};
    *ret = &l->list[l->n++];
    return 0;
}

static void limits_done(struct limits *l)
{
    free(l->list);
    spy_map_free(&l->by_container);
}

int spy_account_of(const struct spy_profile *p, struct spy_account *ret)
{
    _cleanup_(limits_done) struct limits limits = {0};
    struct group all = {0}, *limit;
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++) {
        const struct spy_series *s = spy_profile_series_get(p, i);
        if (!s->duration_ns)
            continue;
        int r = limit_of(&limits, container_of(p, s), &limit);
        if (r < 0)
            return r;
        add_to_group(&all, s);
        add_to_group(limit, s);
    }
    struct spy_account a = all.account;
    for (int c = 0; c < SPY_COUNTERS; c++)
        a.counted[c].of_ns = wall_of(&all, c);
    for (int c = SPY_THROTTLED; c <= SPY_PERIODS; c++) {
        double sum = 0;
        for (size_t i = 0; i < limits.n; i++) // each process saw all of it: their mean
            sum +=
                spy_account_share(&limits.list[i].account, c) * (double)wall_of(&limits.list[i], c);
        a.counted[c].sum = sum < (double)UINT64_MAX ? (uint64_t)(sum + 0.5) : UINT64_MAX;
    }
    *ret = a;
    return 0;
}

// --- what it says ---

static double seen_share(const struct spy_account *a)
{
    return share_of(a->running_ns, a->counted[SPY_CPU].of_ns);
}

// Samples are drawn: n of them, of a period each, scatter by the root of n at most. Where nothing
// was seen, the kernel's count says how many there should have been.
static double chance_share(const struct spy_account *a)
{
    uint64_t counted = a->counted[SPY_CPU].sum;
    double ns = (double)(a->running_ns > counted ? a->running_ns : counted);
    uint64_t of_ns = a->counted[SPY_CPU].of_ns;
    return of_ns ? CHANCE * sqrt(ns * (double)a->period_ns) / (double)of_ns : 0;
}

unsigned spy_account_flags(const struct spy_account *a)
{
    double counted = spy_account_share(a, SPY_CPU), apart = seen_share(a) - counted;
    unsigned flags = 0;
    apart = apart < 0 ? -apart : apart;
    if (spy_account_knows(a, SPY_CPU) && apart > DIFFERS_SHARE && apart > counted * DIFFERS_PART &&
        apart > chance_share(a))
        flags |= SPY_ACCOUNT_DIFFERS;
    if (a->counted[SPY_PERIODS].sum || a->counted[SPY_THROTTLED].sum)
        flags |= SPY_ACCOUNT_THROTTLED;
    return flags;
}

// How much of running was waiting for a CPU, where samples did not tell the two apart; else 0.
static double waiting_in_running(const struct spy_account *a)
{
    if (a->runnable_ns || !a->running_ns || !spy_account_knows(a, SPY_RUNQUEUE))
        return 0;
    double part = spy_account_share(a, SPY_RUNQUEUE) / seen_share(a);
    return part < 1 ? part : 1;
}

static void print_throttled(const struct spy_account *a, struct spy_buf *out)
{
    const struct spy_counted *t = &a->counted[SPY_THROTTLED], *n = &a->counted[SPY_PERIODS];
    spy_buf_printf(out, " Throttled by its CPU limit in %llu periods, for %.2f s.",
                   (unsigned long long)n->sum, (double)t->sum / 1e9);
}

int spy_account_print(const struct spy_account *a, struct spy_buf *out)
{
    if (!spy_account_knows(a, SPY_CPU))
        return out->failed;
    spy_buf_printf(out, "The kernel counted %.1f %% of CPU time, the samples say %.1f %%.",
                   100 * spy_account_share(a, SPY_CPU), 100 * seen_share(a));
    if (spy_account_knows(a, SPY_RUNQUEUE))
        spy_buf_printf(out, " Waiting for a CPU: %.1f %%",
                       100 * spy_account_share(a, SPY_RUNQUEUE));
    if (spy_account_knows(a, SPY_RUNQUEUE) && a->runnable_ns)
        spy_buf_printf(out, ", the samples say %.1f %%",
                       100 * share_of(a->runnable_ns, a->counted[SPY_CPU].of_ns));
    if (waiting_in_running(a) > WORTH_SAYING)
        spy_buf_printf(out, ", up to %.0f %% of what is shown as running",
                       100 * waiting_in_running(a));
    if (spy_account_knows(a, SPY_RUNQUEUE))
        spy_buf_puts(out, ".");
    if (spy_account_flags(a) & SPY_ACCOUNT_THROTTLED)
        print_throttled(a, out);
    return out->failed;
}

int spy_account_warn(const struct spy_account *a, struct spy_buf *out)
{
    unsigned flags = spy_account_flags(a);
    double counted = spy_account_share(a, SPY_CPU), seen = seen_share(a);
    if (flags & SPY_ACCOUNT_THROTTLED)
        spy_buf_puts(out, "It is throttled: it wants more CPU than its limit (cpu.max, "
                          "resources.limits.cpu) gives, and waits for the next period.");
    if (!(flags & SPY_ACCOUNT_DIFFERS))
        return out->failed;
    spy_buf_printf(out,
                   "%sShares are not to be trusted: the samples say %.1f %% of CPU time and the "
                   "kernel counted %.1f %%. ",
                   out->len && flags & SPY_ACCOUNT_THROTTLED ? " " : "", 100 * seen, 100 * counted);
    if (seen < counted)
        return spy_buf_puts(out, "Short work is missed: see podspy doctor, or raise the rate.");
    return spy_buf_puts(out, waiting_in_running(a) > DIFFERS_PART
                                 ? "Threads that waited for a CPU were taken for running."
                                 : "Threads were taken for running that were not.");
}

// Many JSON readers, jansson among them, take no larger integer.
static unsigned long long clamp_integer(uint64_t n)
{
    return n < INT64_MAX ? n : INT64_MAX;
}

int spy_account_json(const struct spy_account *a, struct spy_buf *out)
{
    const char *sep = "";
    for (int c = 0; c < SPY_COUNTERS; c++) {
        spy_buf_printf(out, "%s\"%s\":", sep, spy_counter_names[c].json);
        if (spy_account_knows(a, c))
            spy_buf_printf(out, "%llu", clamp_integer(a->counted[c].sum));
        else
            spy_buf_puts(out, "null");
        sep = ",";
    }
    spy_buf_printf(out,
                   ",\"of_ns\":%llu,\"runqueue_of_ns\":%llu,\"throttled_of_ns\":%llu,"
                   "\"running_ns\":%llu,\"runnable_ns\":%llu",
                   clamp_integer(a->counted[SPY_CPU].of_ns),
                   clamp_integer(a->counted[SPY_RUNQUEUE].of_ns),
                   clamp_integer(a->counted[SPY_THROTTLED].of_ns), clamp_integer(a->running_ns),
                   clamp_integer(a->runnable_ns));
    return out->failed;
}
