#include "agent/sampler/blame.h"

struct holders {
    const struct spy_seen_thread *list[SPY_BLAME_GILS_MAX];
    size_t n;
};

static const struct spy_seen_thread *find_gil_holder(const struct holders *h, uint64_t gil)
{
    for (size_t i = 0; i < h->n; i++)
        if (h->list[i]->gil == gil)
            return h->list[i];
    return NULL;
}

// The first thread of the round that holds each GIL.
static void list_holders(const struct spy_seen_thread *round, size_t n, struct holders *ret)
{
    ret->n = 0;
    for (size_t i = 0; i < n && ret->n < SPY_BLAME_GILS_MAX; i++)
        if (round[i].state & SPY_STATE_GIL_HOLDS && round[i].gil &&
            !find_gil_holder(ret, round[i].gil))
            ret->list[ret->n++] = &round[i];
}

static int intern_blame(const struct spy_blame_to *to, struct spy_blame_series *series)
{
    if (series->epoch == to->epoch)
        return 0;
    int r = spy_label_set_intern(to->labels, to->profile, SPY_TYPE_GIL_BLAME, &series->series);
    if (r == 0)
        series->epoch = to->epoch;
    return r;
}

static int add_blame(const struct spy_blame_to *to, uint32_t series, uint32_t waiter,
                     const struct spy_seen_thread *holder, uint64_t n)
{
    uint32_t stack = holder ? holder->stack : to->unseen, state = holder ? holder->state : 0;
    int r = spy_profile_add(to->profile, series, stack, waiter, state, n, 0);
    if (r == 0 && to->timeline)
        spy_timeline_add(to->timeline, series, stack, waiter, state, n, to->now_ns);
    return r;
}

int spy_blame_count(const struct spy_blame_to *to, const struct spy_seen_thread *round, size_t n,
                    uint64_t rounds, struct spy_blame_series *series, struct spy_blamed *ret)
{
    struct holders holders;
    int failed = 0;
    list_holders(round, n, &holders);
    for (size_t i = 0; i < n; i++) {
        if (!(round[i].state & SPY_STATE_GIL_WAITS))
            continue;
        const struct spy_seen_thread *holder = find_gil_holder(&holders, round[i].gil);
        int r = intern_blame(to, series);
        if (r == 0)
            r = add_blame(to, series->series, round[i].thread, holder, rounds);
        ret->waits += rounds;
        ret->unseen += holder ? 0 : rounds;
        ret->lost += r < 0 ? rounds : 0;
        failed = r < 0 ? r : failed;
    }
    return failed;
}

void spy_blame_end_part(struct spy_profile *p, uint32_t epoch, const struct spy_series *part,
                        struct spy_blame_series *series)
{
    const struct spy_series blame = {
        .start_ns = part->start_ns, .duration_ns = part->duration_ns, .period_ns = part->period_ns};
    if (series->epoch == epoch)
        spy_series_unite(spy_profile_series_at(p, series->series), &blame);
    series->epoch = 0;
}
