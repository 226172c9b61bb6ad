// The sampling thread's priority: what it asks for, and that nothing else has it.
#include "agent/sampler/priority.h"
#include "tests/unit/test.h"
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OTHER = 0, FIFO = 1, IDLE = 5, SHORTEST_NS = 100000 };

static struct spy_sched_attr attributes(void)
{
    struct spy_sched_attr a = {.size = sizeof a};
    assert_int_equal(syscall(SYS_sched_getattr, 0, &a, sizeof a, 0), 0);
    return a;
}

// What the kernel grants an ordinary thread can be tried without our code.
static bool kernel_has_slices(void)
{
    struct spy_sched_attr was = attributes(), a = was;
    a.runtime = SHORTEST_NS;
    syscall(SYS_sched_setattr, 0, &a, 0);
    bool has = attributes().runtime == SHORTEST_NS;
    syscall(SYS_sched_setattr, 0, &was, 0);
    return has;
}

static void a_kernel_with_slices_grants_the_shortest(void **state)
{
    (void)state;
    struct spy_priority p;
    if (!kernel_has_slices())
        skip();
    spy_priority_init(&p);
    assert_int_equal(p.kind, SPY_PRIORITY_SLICE);
    spy_priority_raise(&p);
    assert_int_equal(attributes().runtime, SHORTEST_NS);
    assert_int_equal(attributes().policy, OTHER);
    spy_priority_lower(&p);
}

static void timers_have_no_slack_while_it_is_raised(void **state)
{
    (void)state;
    struct spy_priority p;
    int was = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
    assert_int_equal(prctl(PR_SET_TIMERSLACK, 70000, 0, 0, 0), 0);
    spy_priority_init(&p);
    spy_priority_raise(&p);
    assert_true(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0) <= 1); // of a real-time thread 0
    spy_priority_lower(&p);
    assert_int_equal(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), 70000);
    assert_int_equal(prctl(PR_SET_TIMERSLACK, was, 0, 0, 0), 0);
}

static void a_lowered_thread_has_its_former_priority(void **state)
{
    (void)state;
    struct spy_priority p;
    struct spy_sched_attr was = attributes();
    spy_priority_init(&p);
    struct spy_sched_attr now = attributes();
    assert_memory_equal(&was, &now, sizeof was);
    for (int i = 0; i < 3; i++) {
        spy_priority_raise(&p);
        spy_priority_lower(&p);
    }
    now = attributes();
    assert_memory_equal(&was, &now, sizeof was);
}

// In a child, since it is for good: user nobody, and no limit that helps.
static int without_privilege(enum spy_priority_kind *ret)
{
    struct spy_priority p;
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_RTPRIO, &none) < 0 || setrlimit(RLIMIT_NICE, &none) < 0 ||
        (geteuid() == 0 &&
         (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)))
        return -1;
    spy_priority_init(&p);
    spy_priority_raise(&p);
    *ret = p.kind;
    return p.kind == SPY_PRIORITY_SLICE && attributes().runtime != SHORTEST_NS ? -1 : 0;
}

static void without_privileges_the_priority_is_a_slice_or_none(void **state)
{
    (void)state;
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        enum spy_priority_kind kind;
        _exit(without_privilege(&kind) < 0 ? 99 : (int)kind);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status),
                     kernel_has_slices() ? SPY_PRIORITY_SLICE : SPY_PRIORITY_NONE);
}

static void a_priority_set_by_the_user_is_kept(void **state)
{
    (void)state;
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct spy_sched_attr idle = {.size = sizeof idle, .policy = IDLE};
        struct spy_priority p;
        if (syscall(SYS_sched_setattr, 0, &idle, 0) < 0)
            _exit(1);
        spy_priority_init(&p);
        spy_priority_raise(&p);
        _exit(attributes().policy != IDLE);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void every_kind_has_a_description_and_a_remedy(void **state)
{
    (void)state;
    for (enum spy_priority_kind k = SPY_PRIORITY_NONE; k <= SPY_PRIORITY_SLICE; k++) {
        assert_true(strlen(spy_priority_name(k)) > 0);
        assert_true(strlen(spy_priority_meaning(k)) > 0);
        assert_int_equal(*spy_priority_cure(k) == 0, k >= SPY_PRIORITY_FIFO);
    }
}

RUN(T(a_kernel_with_slices_grants_the_shortest), T(timers_have_no_slack_while_it_is_raised),
    T(a_lowered_thread_has_its_former_priority),
    T(without_privileges_the_priority_is_a_slice_or_none), T(a_priority_set_by_the_user_is_kept),
    T(every_kind_has_a_description_and_a_remedy))
