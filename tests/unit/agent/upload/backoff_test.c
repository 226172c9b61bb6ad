// How long the upload waits after failures.
#include "agent/upload/backoff.h"
#include "tests/unit/test.h"

static struct spy_backoff seeded(void)
{
    return (struct spy_backoff){.rand = {.s = {0x1234567, 0x89abcdef}}};
}

static void the_wait_is_spread_between_nothing_and_a_cap_that_doubles(void **state)
{
    (void)state;
    enum { TRIES = 400 };
    static const uint64_t caps[] = {1, 2, 4, 8, 16, 32, 60, 60, 60};
    for (unsigned n = 0; n < sizeof caps / sizeof *caps; n++) {
        uint64_t cap = caps[n] * SPY_NS_PER_SEC, low = UINT64_MAX, high = 0, sum = 0;
        struct spy_backoff b = seeded();
        for (int i = 0; i < TRIES; i++) {
            b.failures = n;
            uint64_t wait = spy_backoff_failed(&b, 0);
            assert_true(wait <= cap && wait >= SPY_BACKOFF_FLOOR_NS);
            low = wait < low ? wait : low;
            high = wait > high ? wait : high;
            sum += wait;
        }
        assert_true(low < cap / 10); // full jitter reaches both ends
        assert_true(high > cap / 10 * 9);
        assert_in_range(sum / TRIES, cap / 100 * 42, cap / 100 * 58);
    }
}

static void the_same_seed_gives_the_same_waits(void **state)
{
    (void)state;
    struct spy_backoff a = seeded(), b = seeded();
    for (int i = 0; i < 20; i++)
        assert_int_equal(spy_backoff_failed(&a, 0), spy_backoff_failed(&b, 0));
    assert_int_equal(a.failures, 20);
}

static void what_retry_after_asks_is_waited_at_least_and_within_bounds(void **state)
{
    (void)state;
    struct spy_backoff b = seeded();
    uint64_t wait = spy_backoff_failed(&b, 7 * SPY_NS_PER_SEC);
    assert_in_range(wait, 7 * SPY_NS_PER_SEC, 8 * SPY_NS_PER_SEC);
    b.failures = 0;
    wait = spy_backoff_failed(&b, 86400 * SPY_NS_PER_SEC);
    assert_in_range(wait, SPY_BACKOFF_RETRY_AFTER_NS, SPY_BACKOFF_RETRY_AFTER_NS + SPY_NS_PER_SEC);
}

static void a_success_begins_anew(void **state)
{
    (void)state;
    struct spy_backoff b = seeded();
    for (int i = 0; i < 10; i++)
        spy_backoff_failed(&b, 0);
    spy_backoff_reset(&b);
    for (int i = 0; i < 50; i++, spy_backoff_reset(&b))
        assert_true(spy_backoff_failed(&b, 0) <= SPY_BACKOFF_BASE_NS);
}

RUN(T(the_wait_is_spread_between_nothing_and_a_cap_that_doubles),
    T(the_same_seed_gives_the_same_waits),
    T(what_retry_after_asks_is_waited_at_least_and_within_bounds), T(a_success_begins_anew))
