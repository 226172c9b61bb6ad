// Was a thread pushed off its CPU by the calling thread, or does it wait for another's? The counts
// and the clock are made up.
#include "agent/target/switches.h"
#include "shared/base/clock.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define MS     SPY_NS_PER_MS
#define US     (SPY_NS_PER_MS / 1000)
#define BEHIND (5000 * MS) // the run queue's clock, behind CLOCK_MONOTONIC

// The calling thread: the time, when its own was last updated, how often it was taken off a CPU.
static struct {
    uint64_t now, updated;
    long switches;
} own;
static struct spy_own_switches o;

// CMakeLists.txt puts these in front of the real ones.
uint64_t __wrap_spy_clock_mono_ns(void);
int __wrap_getrusage(int who, struct rusage *ret);

uint64_t __wrap_spy_clock_mono_ns(void)
{
    return own.now;
}

int __wrap_getrusage(int who, struct rusage *ret)
{
    assert_int_equal(who, RUSAGE_THREAD);
    *ret = (struct rusage){.ru_nvcsw = own.switches - 1, .ru_nivcsw = 1};
    return 0;
}

static void write_own(void)
{
    char text[512];
    int n = snprintf(text, sizeof text,
                     "podspy (1, #threads: 1)\n-------------------------------------------\n"
                     "se.exec_start : %llu.%06llu\nnr_switches : %ld\n",
                     (unsigned long long)(own.updated / MS), (unsigned long long)(own.updated % MS),
                     own.switches);
    assert_int_equal(ftruncate(o.fd, 0), 0);
    assert_int_equal(pwrite(o.fd, text, (size_t)n, 0), n);
}

static void pass(uint64_t ns)
{
    own.now += ns;
}

// It comes onto a CPU now, and takes it from whom it finds there.
static uint64_t come_onto_cpu(void)
{
    own.switches++;
    own.updated = own.now - BEHIND;
    write_own();
    return own.updated;
}

static uint64_t wake_up(void)
{
    uint64_t pushed = come_onto_cpu();
    pass(10 * US);
    spy_own_switches_woke(&o, own.now);
    return pushed;
}

static void tick(void)
{
    own.updated = own.now - BEHIND;
    write_own();
}

static int start_own(void **state)
{
    (void)state;
    own.now = 100000 * MS;
    own.switches = 7;
    o = (struct spy_own_switches){.fd = memfd_create("sched", MFD_CLOEXEC)};
    return o.fd < 0;
}

static int end_own(void **state)
{
    (void)state;
    spy_own_switches_done(&o);
    return 0;
}

static void a_thread_whose_cpu_was_taken_is_known(void **state)
{
    (void)state;
    uint64_t pushed = wake_up();
    pass(20 * US);
    assert_true(spy_own_switches_took_cpu(&o, pushed));
    assert_false(spy_own_switches_took_cpu(&o, pushed - MS));
    pass(4 * MS); // it stays pushed off for as long as the caller works, whatever ticks come
    tick();
    pass(2 * MS);
    assert_true(spy_own_switches_took_cpu(&o, pushed));
    assert_false(spy_own_switches_took_cpu(&o, pushed - MS));
    assert_false(spy_own_switches_took_cpu(&o, pushed + 3 * MS));
}

static void a_tick_before_the_first_question_does_no_harm(void **state)
{
    (void)state;
    uint64_t pushed = wake_up();
    pass(300 * US);
    tick();
    pass(100 * US);
    assert_true(spy_own_switches_took_cpu(&o, pushed));
    assert_false(spy_own_switches_took_cpu(&o, pushed - MS));
}

// The caller waits asleep for a thread to stop, which takes until that thread gets a CPU. Others
// were taken off theirs meanwhile.
static void a_wait_inside_a_round_is_not_time_on_the_cpu(void **state)
{
    (void)state;
    uint64_t pushed = wake_up();
    assert_true(spy_own_switches_took_cpu(&o, pushed));
    pass(20 * MS);
    uint64_t next = come_onto_cpu();
    assert_true(spy_own_switches_took_cpu(&o, next));
    assert_false(spy_own_switches_took_cpu(&o, pushed));
    assert_false(spy_own_switches_took_cpu(&o, next - 3 * MS));
    pass(20 * MS);
    next = come_onto_cpu(); // this time nobody asked before the wait
    pass(10 * US);
    assert_false(spy_own_switches_took_cpu(&o, next - 3 * MS));
    assert_true(spy_own_switches_took_cpu(&o, next));
}

static void a_wait_before_the_first_question_is_not_time_on_the_cpu_either(void **state)
{
    (void)state;
    uint64_t pushed = wake_up();
    pass(20 * MS);
    uint64_t next = come_onto_cpu();
    pass(10 * US);
    assert_false(spy_own_switches_took_cpu(&o, pushed));
    assert_false(spy_own_switches_took_cpu(&o, next - 3 * MS));
    assert_true(spy_own_switches_took_cpu(&o, next));
}

static void a_caller_that_never_slept_takes_only_what_it_came_upon(void **state)
{
    (void)state;
    uint64_t pushed = come_onto_cpu();
    assert_true(spy_own_switches_took_cpu(&o, pushed));
    assert_false(spy_own_switches_took_cpu(&o, pushed - MS));
}

static void without_its_file_nothing_is_claimed(void **state)
{
    (void)state;
    uint64_t pushed = wake_up();
    close(o.fd);
    o.fd = -1;
    assert_false(spy_own_switches_took_cpu(&o, pushed));
}

#define OWN(f) cmocka_unit_test_setup_teardown(f, start_own, end_own)
RUN(OWN(a_thread_whose_cpu_was_taken_is_known), OWN(a_tick_before_the_first_question_does_no_harm),
    OWN(a_wait_inside_a_round_is_not_time_on_the_cpu),
    OWN(a_wait_before_the_first_question_is_not_time_on_the_cpu_either),
    OWN(a_caller_that_never_slept_takes_only_what_it_came_upon),
    OWN(without_its_file_nothing_is_claimed))
