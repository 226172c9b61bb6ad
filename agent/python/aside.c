#include "agent/python/aside.h"
#include "agent/python/attempt.h"
#include "shared/base/clock.h"
#include <sched.h>

enum {
    AWAY_ONE_IN = 64, // samples from another CPU
    STANDS_FOR = 4,   // how many such samples one stands for
};

bool spy_py_aside_wanted(const struct spy_py_thread *th, const struct spy_py_options *o)
{
    return o->follows && o->pausing != SPY_PAUSE_ALWAYS && spy_py_attempt_is_torn_often(th);
}

// Tries a read from another CPU, where the thread ran on its own meanwhile.
static void try_from_elsewhere(struct spy_python *p, struct spy_py_thread *th,
                               const struct spy_py_options *o)
{
    struct spy_py_facts facts;
    int r = spy_py_attempt_clean(p, th, &facts);
    for (int i = 0; i < STANDS_FOR; i++)
        spy_py_attempt_count(th, o, r == SPY_ERR_TORN, r == 0 && facts.moved);
}

// *ret_slices: how often the thread had been given a CPU before.
static bool is_pushed_aside(struct spy_python *p, struct spy_py_thread *th,
                            const struct spy_py_options *o, uint64_t *ret_slices)
{
    struct spy_py_follow *f = &p->follow;
    struct spy_thread_sched sched = {.slices = 0};
    int theirs = -1, ours = sched_getcpu();
    if (spy_thread_probe_sched(&th->id.probe, &sched) < 0 || !sched.slices ||
        spy_thread_probe_cpu(&th->id.probe, &theirs) < 0 || theirs < 0)
        return false;
    bool stands = o->cpu >= 0 && o->cpu == theirs && ours == theirs && sched_getcpu() == ours;
    if (f->trial && o->cpu < 0 && ours != theirs)
        try_from_elsewhere(p, th, o);
    if (!f->met)
        f->cpu = theirs + 1;
    f->met = f->met || stands;
    *ret_slices = sched.slices;
    return stands;
}

int spy_py_aside_read(struct spy_python *p, struct spy_py_thread *th,
                      const struct spy_py_options *o, struct spy_py_facts *facts)
{
    uint64_t slices;
    struct spy_thread_sched after = {.slices = 0};
    if (!is_pushed_aside(p, th, o, &slices))
        return SPY_ERR_TORN;
    int r = spy_py_attempt_still(p, th, facts);
    // Checked even if the read failed: what was read of a thread that moved says nothing.
    if (spy_thread_probe_sched(&th->id.probe, &after) < 0 || after.slices != slices)
        return SPY_ERR_TORN;
    // The thread runs again when this program sleeps, at most as long after as it has been awake.
    if (o->self)
        th->learned.cpu_use.caused_ns += 2 * (spy_clock_mono_ns() - o->self->woke_ns);
    return r;
}

struct spy_py_wish spy_python_take_wish(struct spy_python *p)
{
    struct spy_py_follow *f = &p->follow;
    struct spy_py_wish wish = {.cpu = f->cpu - 1};
    wish.away = f->met && ++f->n % AWAY_ONE_IN == 0;
    f->trial = wish.away;
    f->met = false;
    f->cpu = 0;
    return wish;
}
