#include "agent/python/on_cpu.h"
#include "agent/target/switches.h"
#include "shared/base/clock.h"

enum {
    STEADY_NS = 20000000,   // checked so often: on_cpu_ns grows at ticks, every 1 to 10 ms
    LONG_WAIT_NS = 1000000, // more than a wakeup takes
    OFTEN_NS = 250000000,   // for so long a thread that waited that long is asked more often
};

int spy_py_sched(struct spy_py_thread *th, struct spy_thread_sched *ret)
{
    int r = spy_thread_probe_sched(&th->id.probe, ret);
    if (r < 0)
        return r;
    struct spy_py_cpu_use *use = &th->learned.cpu_use;
    if (use->waited_ns && ret->waited_ns - use->waited_ns > LONG_WAIT_NS)
        use->often_until = spy_clock_mono_ns() + OFTEN_NS;
    use->waited_ns = ret->waited_ns;
    return 0;
}

bool spy_py_waits_often(const struct spy_py_thread *th)
{
    return th->learned.cpu_use.often_until && spy_clock_mono_ns() < th->learned.cpu_use.often_until;
}

// True if the thread ran for three quarters of the time since it was last checked, and waited for
// less than a sixty-fourth, apart from waits for this program.
static bool is_steady(struct spy_py_cpu_use *use, const struct spy_thread_sched *now, uint64_t at)
{
    uint64_t past = at - use->since;
    bool steady = use->since && past >= STEADY_NS && past < 16 * (uint64_t)STEADY_NS &&
                  now->on_cpu_ns - use->then.on_cpu_ns > past - past / 4 &&
                  now->waited_ns - use->then.waited_ns < past / 64 + use->caused_ns;
    use->then = *now;
    use->caused_ns = 0;
    use->since = at;
    return steady;
}

static bool stands_aside(const struct spy_py_options *o, uint64_t updated_ns)
{
    return o->self && spy_own_switches_took_cpu(o->self, updated_ns);
}

bool spy_py_could_not_ask(int r)
{
    return r == SPY_ERR_LIMIT || r == SPY_ERR_NOMEM || r == SPY_ERR_IO || r == SPY_ERR_AGAIN;
}

int spy_py_cpu_of(struct spy_py_thread *th, const struct spy_py_options *o, uint64_t *ret_slices,
                  enum spy_py_cpu *ret)
{
    struct spy_py_cpu_use *use = &th->learned.cpu_use;
    struct spy_thread_sched times;
    struct spy_thread_switches taken;
    uint64_t now = spy_clock_mono_ns();
    *ret = SPY_PY_ON_CPU;
    if (use->steady && now - use->since < STEADY_NS)
        return 0;
    int r = spy_py_sched(th, &times);
    if (r < 0)
        return spy_py_could_not_ask(r) ? r : 0;
    if (!use->since || now - use->since >= STEADY_NS)
        use->steady = is_steady(use, &times, now);
    if (use->steady)
        return 0;
    r = spy_thread_probe_switches(&th->id.probe, &taken);
    if (r < 0)
        return spy_py_could_not_ask(r) ? r : 0;
    if (times.slices != taken.n || !times.slices)
        return 0;
    *ret_slices = times.slices;
    *ret = stands_aside(o, taken.updated_ns) ? SPY_PY_HELD_UP : SPY_PY_RUNNABLE;
    return 0;
}
