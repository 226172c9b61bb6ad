#include "agent/sampler/priority.h"
#include "shared/base/mem.h"
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    SLICE_NS = 100000, // the shortest that the kernel grants (__setparam_fair, kernel/sched/)
    NICE_BEST = -20,
};

// Not in glibc before 2.41.
static int set_attributes(const struct spy_sched_attr *a)
{
    return (int)syscall(SYS_sched_setattr, 0, a, 0);
}

static int get_attributes(struct spy_sched_attr *ret)
{
    return (int)syscall(SYS_sched_getattr, 0, ret, sizeof *ret, 0);
}

static bool try_slice(struct spy_priority *p)
{
    struct spy_sched_attr now = {.size = sizeof now};
    p->raised = p->ordinary;
    p->raised.policy = SCHED_OTHER; // the kernel does not let a batch thread preempt
    p->raised.runtime = SLICE_NS;
    // A kernel before 6.12 accepts the call but keeps no slice.
    return set_attributes(&p->raised) == 0 && get_attributes(&now) == 0 && now.runtime == SLICE_NS;
}

// The kernel ends a process whose thread runs past RLIMIT_RTTIME without sleeping.
static bool try_fifo(struct spy_priority *p)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_RTTIME, &limit) < 0 || limit.rlim_max != RLIM_INFINITY)
        return false;
    p->raised =
        (struct spy_sched_attr){.size = sizeof p->raised, .policy = SCHED_FIFO, .priority = 1};
    return set_attributes(&p->raised) == 0;
}

static bool try_nice(struct spy_priority *p)
{
    struct rlimit limit;
    p->raised = p->ordinary;
    p->raised.nice = NICE_BEST;
    if (set_attributes(&p->raised) == 0)
        return true;
    if (getrlimit(RLIMIT_NICE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return false;
    p->raised.nice = 20 - (int)limit.rlim_cur; // getrlimit(2)
    return p->raised.nice < p->ordinary.nice && set_attributes(&p->raised) == 0;
}

void spy_priority_init(struct spy_priority *p)
{
    static const struct {
        enum spy_priority_kind kind;
        bool (*try)(struct spy_priority *p);
    } ways[] = {{SPY_PRIORITY_SLICE, try_slice},
                {SPY_PRIORITY_FIFO, try_fifo},
                {SPY_PRIORITY_NICE, try_nice}};
    *p = (struct spy_priority){.ordinary = {.size = sizeof p->ordinary}};
    p->slack = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
    if (get_attributes(&p->ordinary) < 0)
        return;
    p->ordinary.flags = 0; // the kernel accepts only some of the flags that it returns
    p->raised = p->ordinary;
    if (p->ordinary.policy == SCHED_FIFO || p->ordinary.policy == SCHED_RR)
        p->kind = SPY_PRIORITY_FIFO; // podspy was started so
    if (p->ordinary.policy != SCHED_OTHER && p->ordinary.policy != SCHED_BATCH)
        return; // podspy was started as SCHED_IDLE: that stays
    for (size_t i = 0; i < SPY_COUNT(ways) && !p->kind; i++)
        if (ways[i].try(p))
            p->kind = ways[i].kind;
    set_attributes(&p->ordinary);
}

// The slack of the thread's timers: 1 ns, or what it had. 0 would restore the slack it started
// with.
static void set_slack(struct spy_priority *p, bool least)
{
    if (p->slack > 0 && p->has_least_slack != least &&
        prctl(PR_SET_TIMERSLACK, least ? 1UL : (unsigned long)p->slack, 0, 0, 0) == 0)
        p->has_least_slack = least;
}

void spy_priority_raise(struct spy_priority *p)
{
    set_slack(p, true);
    if (p->kind && !p->is_raised)
        p->is_raised = set_attributes(&p->raised) == 0;
}

void spy_priority_lower(struct spy_priority *p)
{
    set_slack(p, false);
    if (p->is_raised)
        p->is_raised = set_attributes(&p->ordinary) < 0;
}

// --- in words ---

const char *spy_priority_name(enum spy_priority_kind kind)
{
    static const char *const names[] = {[SPY_PRIORITY_NONE] = "none",
                                        [SPY_PRIORITY_NICE] = "nice",
                                        [SPY_PRIORITY_FIFO] = "fifo",
                                        [SPY_PRIORITY_SLICE] = "slice"};
    return names[kind];
}

const char *spy_priority_meaning(enum spy_priority_kind kind)
{
    static const char *const texts[] = {
        [SPY_PRIORITY_NONE] = "the sampling thread waits for its turn like any other: work that is "
                              "shorter than a scheduler's slice is seen too seldom",
        [SPY_PRIORITY_NICE] = "the sampling thread has a better nice value: work that is shorter "
                              "than a scheduler's slice may be seen too seldom",
        [SPY_PRIORITY_FIFO] = "the sampling thread gets a CPU at once (SCHED_FIFO)",
        [SPY_PRIORITY_SLICE] = "the sampling thread gets a CPU at once (a slice of 0.1 ms)"};
    return texts[kind];
}

const char *spy_priority_cure(enum spy_priority_kind kind)
{
    return kind >= SPY_PRIORITY_FIFO
               ? ""
               : "run Linux 6.12 or later, or add the capability SYS_NICE (docker: --cap-add "
                 "SYS_NICE; Kubernetes: securityContext.capabilities.add: [SYS_NICE]; systemd: "
                 "LimitRTPRIO=1)";
}
