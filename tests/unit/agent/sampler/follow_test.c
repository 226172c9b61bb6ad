// Where the sampling thread goes to for the sake of a thread whose reads fail often, and when it
// does not.
//
// The clock is made up, so that how late the machine lets the sampler in is not part of it: the
// sampler sleeps for a real moment, and then it is as late as the test says. The target, the CPUs
// and what is read on them are real.
#include "agent/sampler/follow.h"
#include "children.h"
#include "shared/base/clock.h"
#include "tests/unit/test.h"
#include <signal.h>
#include <string.h>
#include <time.h>

enum { RATE = 1000, NAP_NS = 300000, LATE_NS = 700000, SHORT_NS = 20000, LONG_NS = 300000 };

static struct {
    uint64_t now, late_ns;
    int cpu;                     // the target's
    unsigned sleeps, on_its_cpu; // and so many of them bound to that
    int rebind_to;               // from outside, after some sleeps on that CPU; -1: nobody does
} seen;

// CMakeLists.txt puts these in front of the real ones.
uint64_t __wrap_spy_clock_mono_ns(void);
int __wrap_spy_clock_sleep_until(uint64_t deadline_ns);

uint64_t __wrap_spy_clock_mono_ns(void)
{
    return seen.now;
}

static cpu_set_t affinity(void)
{
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    return set;
}

static cpu_set_t only(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    return set;
}

int __wrap_spy_clock_sleep_until(uint64_t deadline_ns)
{
    enum { REBIND_AFTER = 50 };
    cpu_set_t now = affinity(), its = only(seen.cpu);
    seen.sleeps++;
    seen.on_its_cpu += CPU_EQUAL(&now, &its);
    if (seen.rebind_to >= 0 && seen.on_its_cpu == REBIND_AFTER) {
        cpu_set_t set = only(seen.rebind_to);
        assert_int_equal(sched_setaffinity(0, sizeof set, &set), 0);
    }
    nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
    seen.now = (deadline_ns > seen.now ? deadline_ns : seen.now) + seen.late_ns;
    return 0;
}

static int nth_cpu(const cpu_set_t *set, int n)
{
    for (size_t i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, set) && n-- == 0)
            return (int)i;
    return -1;
}

// Samples a program of short calls that may only run on one CPU.
static struct spy_sampler_totals sample_calls(enum spy_pausing pausing, double seconds)
{
    char line[64];
    struct child c = start_child("../../../contract/truth/short_calls.py", NULL);
    read_line(&c, line, sizeof line);
    cpu_set_t set = only(seen.cpu);
    assert_int_equal(sched_setaffinity(c.pid, sizeof set, &set), 0);
    struct spy_sampler *s = new_sampler(0);
    seen.now = SPY_NS_PER_SEC;
    add_process(s, c.pid, RATE, pausing);
    run_for(s, seconds / 2); // so many seconds of the clock that is made up
    struct spy_sampler_totals before = spy_sampler_totals(s), after;
    seen.sleeps = seen.on_its_cpu = 0;
    run_for(s, seconds / 2);
    after = spy_sampler_totals(s);
    spy_sampler_free(s);
    end_child(&c);
    return (struct spy_sampler_totals){.samples = after.samples - before.samples,
                                       .clean = after.clean - before.clean,
                                       .paused = after.paused - before.paused,
                                       .failed = after.failed - before.failed};
}

static int begin(void **state)
{
    static cpu_set_t allowed;
    allowed = affinity();
    *state = &allowed;
    memset(&seen, 0, sizeof seen);
    seen.rebind_to = -1;
    seen.cpu = nth_cpu(&allowed, 1);
    return 0;
}

static int end(void **state)
{
    cpu_set_t *allowed = *state;
    return sched_setaffinity(0, sizeof *allowed, allowed);
}

static void need_two_cpus(void)
{
    if (seen.cpu < 0)
        skip();
}

// A target that gets no CPU for a while (another program's, or the hypervisor's) does not move, and
// nothing need be done to read it: then once more.
static struct spy_sampler_totals sample_calls_that_run(enum spy_pausing pausing)
{
    enum { TRIES = 5 };
    struct spy_sampler_totals t = {0};
    for (int i = 0; i < TRIES && seen.on_its_cpu <= seen.sleeps * 8 / 10; i++)
        t = sample_calls(pausing, 2);
    return t;
}

static bool has_the_cpus(void)
{
#ifdef SHARES_CPUS
    print_message("not asserted: the tests of another sanitizer run beside this one\n");
    return false;
#else
    return true;
#endif
}

static void a_thread_of_short_calls_is_read_on_its_own_cpu(void **state)
{
    cpu_set_t *allowed = *state, now;
    need_two_cpus();
    struct spy_sampler_totals t = sample_calls_that_run(SPY_PAUSE_AUTO);
    print_message("%llu clean, %llu paused, %llu failed\n", (unsigned long long)t.clean,
                  (unsigned long long)t.paused, (unsigned long long)t.failed);
    if (!has_the_cpus())
        return;
    assert_true(t.samples > 500);
    assert_true(seen.on_its_cpu > seen.sleeps * 8 / 10);
    assert_true(t.clean > t.samples * 8 / 10);
    now = affinity(); // what comes between two runs, and new threads, are not bound
    assert_true(CPU_EQUAL(&now, allowed));
}

static void without_pauses_short_calls_are_read_on_their_own_cpu_too(void **state)
{
    (void)state;
    need_two_cpus();
    struct spy_sampler_totals t = sample_calls_that_run(SPY_PAUSE_NEVER);
    if (!has_the_cpus())
        return;
    assert_true(seen.on_its_cpu > seen.sleeps * 8 / 10);
    assert_int_equal(t.paused, 0);
    assert_true(t.clean > (t.clean + t.failed) * 8 / 10);
}

static struct spy_sampler_totals sample_calls_until_paused(enum spy_pausing pausing)
{
    enum { TRIES = 5 };
    struct spy_sampler_totals t = {0};
    for (int i = 0; i < TRIES && !t.paused; i++)
        t = sample_calls(pausing, 1);
    return t;
}

static void where_every_sample_is_paused_the_sampler_stays(void **state)
{
    (void)state;
    need_two_cpus();
    struct spy_sampler_totals t = sample_calls_until_paused(SPY_PAUSE_ALWAYS);
    assert_int_equal(seen.on_its_cpu, 0);
    assert_true(t.paused > 0);
}

static void a_cpu_outside_of_the_affinity_is_not_used(void **state)
{
    cpu_set_t own = only(nth_cpu(*state, 0));
    need_two_cpus();
    assert_int_equal(sched_setaffinity(0, sizeof own, &own), 0);
    struct spy_sampler_totals t = sample_calls_until_paused(SPY_PAUSE_AUTO);
    assert_int_equal(seen.on_its_cpu, 0);
    assert_true(t.paused > 0); // not those in which it waited for a CPU
}

static void an_affinity_set_from_outside_is_kept(void **state)
{
    need_two_cpus();
    seen.rebind_to = nth_cpu(*state, 0);
    sample_calls(SPY_PAUSE_AUTO, 1);
    cpu_set_t now = affinity(), set = only(seen.rebind_to);
    assert_true(CPU_EQUAL(&now, &set));
}

// One round: a sleep of a millisecond that ends as much too late, then so much work. Was it bound?
static bool pass(struct spy_follow *f, int wish, uint64_t late_ns, uint64_t work_ns)
{
    spy_follow_sleep(f, (struct spy_py_wish){.cpu = wish}, seen.now);
    bool bound = spy_follow_cpu(f) == seen.cpu;
    uint64_t due = seen.now + SPY_NS_PER_SEC / RATE;
    seen.now = due + late_ns;
    spy_follow_woke(f, due, seen.now);
    seen.now += work_ns;
    return bound;
}

static void a_sampler_that_is_late_on_a_cpu_avoids_it(void **state)
{
    (void)state;
    need_two_cpus();
    struct spy_follow f;
    spy_follow_init(&f);
    unsigned late = 0;
    seen.now = SPY_NS_PER_SEC;
    while (seen.now < 4 * SPY_NS_PER_SEC)
        late += pass(&f, seen.cpu, spy_follow_cpu(&f) == seen.cpu ? LATE_NS : 0, SHORT_NS);
    print_message("late for %u rounds\n", late);
    assert_true(late > 0 && late < 100); // at first, and after 1 s
    while (seen.now < 8 * SPY_NS_PER_SEC)
        pass(&f, seen.cpu, 0, SHORT_NS);
    assert_int_equal(spy_follow_cpu(&f), seen.cpu); // after 2 s more, and no longer late
    spy_follow_leave(&f);
}

static void a_sampler_that_is_late_on_every_cpu_stays(void **state)
{
    (void)state;
    need_two_cpus();
    struct spy_follow f;
    spy_follow_init(&f);
    seen.now = SPY_NS_PER_SEC;
    for (int i = 0; i < 2000; i++)
        pass(&f, i < 1000 ? -1 : seen.cpu, LATE_NS, SHORT_NS);
    assert_int_equal(spy_follow_cpu(&f), seen.cpu);
    spy_follow_leave(&f);
}

static void a_sampler_that_works_long_on_a_cpu_avoids_it(void **state)
{
    (void)state;
    need_two_cpus();
    struct spy_follow f;
    spy_follow_init(&f);
    unsigned bound = 0;
    seen.now = SPY_NS_PER_SEC;
    while (seen.now < 19 * SPY_NS_PER_SEC / 10)
        bound += pass(&f, seen.cpu, 0, LONG_NS);
    assert_true(bound > 0 && bound < 60);
}

static void a_few_wishes_for_a_cpu_do_not_move_the_sampler(void **state)
{
    need_two_cpus();
    struct spy_follow f;
    int other = nth_cpu(*state, 0);
    spy_follow_init(&f);
    for (int i = 0; i < 40; i++) {
        spy_follow_sleep(&f, (struct spy_py_wish){.cpu = i % 4 ? seen.cpu : other}, SPY_NS_PER_SEC);
        spy_follow_woke(&f, SPY_NS_PER_SEC, SPY_NS_PER_SEC);
    }
    assert_int_equal(spy_follow_cpu(&f), other); // the first that was wished for
    for (int i = 0; i < 4; i++)
        spy_follow_sleep(&f, (struct spy_py_wish){.cpu = seen.cpu}, SPY_NS_PER_SEC);
    assert_int_equal(spy_follow_cpu(&f), seen.cpu);
    spy_follow_sleep(&f, (struct spy_py_wish){.cpu = seen.cpu, .away = true}, SPY_NS_PER_SEC);
    cpu_set_t now = affinity();
    assert_false(CPU_ISSET((size_t)seen.cpu, &now));
    spy_follow_sleep(&f, (struct spy_py_wish){.cpu = seen.cpu}, SPY_NS_PER_SEC);
    assert_int_equal(spy_follow_cpu(&f), seen.cpu);
    for (int i = 0; i < 100; i++)
        spy_follow_sleep(&f, (struct spy_py_wish){.cpu = -1}, SPY_NS_PER_SEC);
    assert_int_equal(spy_follow_cpu(&f), -1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

RUN(TEST(a_thread_of_short_calls_is_read_on_its_own_cpu),
    TEST(without_pauses_short_calls_are_read_on_their_own_cpu_too),
    TEST(where_every_sample_is_paused_the_sampler_stays),
    TEST(a_cpu_outside_of_the_affinity_is_not_used), TEST(an_affinity_set_from_outside_is_kept),
    TEST(a_sampler_that_is_late_on_a_cpu_avoids_it),
    TEST(a_sampler_that_is_late_on_every_cpu_stays),
    TEST(a_sampler_that_works_long_on_a_cpu_avoids_it),
    TEST(a_few_wishes_for_a_cpu_do_not_move_the_sampler))
