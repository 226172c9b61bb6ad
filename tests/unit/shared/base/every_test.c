#include "shared/base/clock.h"
#include "shared/base/every.h"
#include "tests/unit/test.h"

static void count(void *arg)
{
    __atomic_fetch_add((int *)arg, 1, __ATOMIC_RELAXED);
}

static void expect_calls(const int *n, int expected)
{
    uint64_t until = spy_clock_mono_ns() + 10 * SPY_NS_PER_SEC;
    while (__atomic_load_n(n, __ATOMIC_RELAXED) < expected && spy_clock_mono_ns() < until)
        spy_clock_sleep_until(spy_clock_mono_ns() + SPY_NS_PER_MS);
    assert_int_equal(__atomic_load_n(n, __ATOMIC_RELAXED), expected);
}

static void test_a_periodic_call_runs_at_the_start_and_when_woken(void **state)
{
    int n = 0;
    struct spy_every *e = NULL;
    (void)state;
    assert_int_equal(spy_every_new(3600, count, &n, &e, NULL), 0);
    expect_calls(&n, 1);
    for (int i = 2; i < 5; i++) {
        spy_every_now(e);
        expect_calls(&n, i);
    }
    spy_every_free(e);
}

RUN(T(test_a_periodic_call_runs_at_the_start_and_when_woken))
