#include "agent/sampler/follow.h"
#include "shared/base/clock.h"

enum {
    LATE_NS = 250000,  // the most it may be late on average
    AWAKE_NS = 100000, // and awake: a pause takes half of that
    CAP_NS = 1000000,  // the most one round counts, since the machine may have stalled
    SMOOTH = 32,
    AGAINST_MOST = 4,
    IDLE_MOST = 64,
    GOOD_ENOUGH = 4096,
};
#define FIRST_OFF_NS SPY_NS_PER_SEC
#define LAST_OFF_NS  (64 * SPY_NS_PER_SEC)

void spy_follow_init(struct spy_follow *f)
{
    *f = (struct spy_follow){.cpu = -1, .off_ns = FIRST_OFF_NS};
    // With more CPUs than the set has room for, it never follows.
    f->off = sched_getaffinity(0, sizeof f->allowed, &f->allowed) < 0;
}

static void set_to_cpu(const struct spy_follow *f, int cpu, bool away, cpu_set_t *ret)
{
    CPU_ZERO(ret);
    CPU_SET((size_t)cpu, ret);
    if (away)
        CPU_XOR(ret, &f->allowed, ret);
}

// Someone else (an administrator, a cpuset) may have changed the binding meanwhile: that stays.
static bool is_as_left(struct spy_follow *f)
{
    cpu_set_t now, then = f->allowed;
    if (f->cpu >= 0)
        set_to_cpu(f, f->cpu, f->away, &then);
    f->off = f->off || sched_getaffinity(0, sizeof now, &now) < 0 || !CPU_EQUAL(&now, &then);
    return !f->off;
}

void spy_follow_leave(struct spy_follow *f)
{
    if (f->cpu >= 0 && is_as_left(f))
        f->off = sched_setaffinity(0, sizeof f->allowed, &f->allowed) < 0;
    f->cpu = -1;
    f->away = false;
    f->against = f->idle = 0;
}

static void bind_to(struct spy_follow *f, int cpu, bool away)
{
    cpu_set_t set;
    if (!is_as_left(f)) {
        f->cpu = -1;
        f->away = false;
        return;
    }
    set_to_cpu(f, cpu, away, &set);
    if (!CPU_COUNT(&set) || sched_setaffinity(0, sizeof set, &set) < 0)
        return;
    f->cpu = cpu;
    f->away = away;
    f->against = 0;
}

static void stop_for_a_while(struct spy_follow *f, uint64_t now)
{
    spy_follow_leave(f);
    f->off_until = now + f->off_ns;
    f->off_ns = 2 * f->off_ns < LAST_OFF_NS ? 2 * f->off_ns : LAST_OFF_NS;
    f->late_ns = f->awake_ns = 0;
    f->good = 0;
}

static uint64_t smooth_ns(uint64_t average, uint64_t ns)
{
    return average - average / SMOOTH + (ns < CAP_NS ? ns : CAP_NS) / SMOOTH;
}

static void follow_wish(struct spy_follow *f, struct spy_py_wish wish)
{
    if (wish.cpu < 0) {
        if (f->cpu >= 0 && ++f->idle > IDLE_MOST)
            spy_follow_leave(f);
        return;
    }
    f->idle = 0;
    if (wish.cpu >= CPU_SETSIZE || !CPU_ISSET((size_t)wish.cpu, &f->allowed))
        return;
    if (wish.cpu == f->cpu || f->cpu < 0) {
        f->against = 0;
        if (wish.away != f->away || f->cpu < 0)
            bind_to(f, wish.cpu, wish.away);
    } else if (++f->against >= AGAINST_MOST) {
        bind_to(f, wish.cpu, false);
    } else if (f->away) {
        bind_to(f, f->cpu, false);
    }
}

void spy_follow_sleep(struct spy_follow *f, struct spy_py_wish wish, uint64_t now)
{
    if (f->off || now < f->off_until)
        return;
    if (f->cpu >= 0 && !f->away) {
        f->awake_ns = smooth_ns(f->awake_ns, now - f->woke);
        if (f->awake_ns > AWAKE_NS)
            stop_for_a_while(f, now);
    }
    if (now >= f->off_until)
        follow_wish(f, wish);
}

void spy_follow_woke(struct spy_follow *f, uint64_t due, uint64_t now)
{
    f->woke = now;
    f->is_on = !f->off && now >= f->off_until;
    uint64_t late = now > due ? now - due : 0;
    if (f->cpu < 0 || f->away) {
        f->late_elsewhere_ns = smooth_ns(f->late_elsewhere_ns, late);
        return;
    }
    f->late_ns = smooth_ns(f->late_ns, late);
    if (f->late_ns > f->late_elsewhere_ns + LATE_NS)
        stop_for_a_while(f, now);
    else if (++f->good == GOOD_ENOUGH)
        f->off_ns = FIRST_OFF_NS;
}

int spy_follow_cpu(const struct spy_follow *f)
{
    return f->away ? -1 : f->cpu;
}
