#include "shared/profile/account.h"
#include "shared/base/mem.h"
#include <math.h>

#define DIFFERS_SHARE 0.02 // two points of a CPU
#define DIFFERS_PART  0.1  // and a tenth of what the kernel counted
#define CHANCE        3    // standard errors
#define MOST_OF_TIME  0.95 // more than that is called all of it
#define WORTH_SAYING  0.01 // of running: less waiting than that is not mentioned

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

// --- texts ---

static double seen_share(const struct spy_account *a)
{
    return share_of(a->running_ns, a->counted[SPY_CPU].of_ns);
}

// Sampling is random: n samples scatter by the root of n at most. If there are none, the kernel's
// count says how many to expect.
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

// The part of running that was waiting for a CPU, if samples do not distinguish the two; else 0.
static double waiting_in_running(const struct spy_account *a)
{
    if (a->runnable_ns || !a->running_ns || !spy_account_knows(a, SPY_RUNQUEUE))
        return 0;
    double part = spy_account_share(a, SPY_RUNQUEUE) / seen_share(a);
    return part < 1 ? part : 1;
}

// Threads that end take their waiting with them, so that it may be known of fewer windows.
static double known_part(const struct spy_account *a)
{
    return share_of(a->counted[SPY_RUNQUEUE].of_ns, a->counted[SPY_CPU].of_ns);
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
                       100 * share_of(a->runnable_ns, a->counted[SPY_RUNQUEUE].of_ns));
    if (waiting_in_running(a) > WORTH_SAYING)
        spy_buf_printf(out, ", up to %.0f %% of what is shown as running",
                       100 * waiting_in_running(a));
    if (spy_account_knows(a, SPY_RUNQUEUE) && known_part(a) < MOST_OF_TIME)
        spy_buf_printf(out, " (known for %.0f %% of the time)", 100 * known_part(a));
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
