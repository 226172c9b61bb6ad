// How long uploads and discovery wait after failures.
#include "shared/base/backoff.h"
#include "tests/unit/test.h"

#define BASE_NS SPY_NS_PER_SEC
#define CAP_NS  (60 * SPY_NS_PER_SEC)

static struct spy_backoff seeded(void)
{
    return (struct spy_backoff){
        .base_ns = BASE_NS, .cap_ns = CAP_NS, .rand = {.s = {0x1234567, 0x89abcdef}}};
}

static void waits_are_random_below_a_cap_that_doubles(void **state)
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

static void retry_after_is_added_within_bounds(void **state)
{
    (void)state;
    struct spy_backoff b = seeded();
    uint64_t wait = spy_backoff_failed(&b, 7 * SPY_NS_PER_SEC);
    assert_in_range(wait, 7 * SPY_NS_PER_SEC, 8 * SPY_NS_PER_SEC);
    b.failures = 0;
    wait = spy_backoff_failed(&b, 86400 * SPY_NS_PER_SEC);
    assert_in_range(wait, SPY_BACKOFF_RETRY_AFTER_NS, SPY_BACKOFF_RETRY_AFTER_NS + SPY_NS_PER_SEC);
}

static void half_of_the_wait_can_be_fixed(void **state)
{
    (void)state;
    enum { TRIES = 400 };
    static const uint64_t most_ms[] = {500, 1000, 2000, 4000, 8000, 8000};
    for (unsigned n = 0; n < sizeof most_ms / sizeof *most_ms; n++) {
        uint64_t most = most_ms[n] * SPY_NS_PER_MS, low = UINT64_MAX, high = 0;
        struct spy_backoff b = {
            .base_ns = 500 * SPY_NS_PER_MS, .cap_ns = 8 * SPY_NS_PER_SEC, .half_fixed = true};
        for (int i = 0; i < TRIES; i++) {
            b.failures = n;
            uint64_t wait = spy_backoff_failed(&b, 0);
            assert_in_range(wait, most / 2, most);
            low = wait < low ? wait : low;
            high = wait > high ? wait : high;
        }
        assert_true(low < most / 2 + most / 20);
        assert_true(high > most - most / 20);
    }
}

static void a_success_restarts_the_waits(void **state)
{
    (void)state;
    struct spy_backoff b = seeded();
    for (int i = 0; i < 10; i++)
        spy_backoff_failed(&b, 0);
    spy_backoff_reset(&b);
    for (int i = 0; i < 50; i++, spy_backoff_reset(&b))
        assert_true(spy_backoff_failed(&b, 0) <= BASE_NS);
}

RUN(T(waits_are_random_below_a_cap_that_doubles), T(the_same_seed_gives_the_same_waits),
    T(retry_after_is_added_within_bounds), T(half_of_the_wait_can_be_fixed),
    T(a_success_restarts_the_waits))
