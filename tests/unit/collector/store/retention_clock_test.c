#include "collector/store/retention_clock.h"
#include "tests/unit/test.h"

#define SEC  UINT64_C(1000000000)
#define HOUR (3600 * SEC)
#define DAY  (24 * HOUR)
static const uint64_t T = 20000 * DAY;

static void a_right_clock_is_trusted(void **state)
{
    (void)state;
    struct spy_retention_clock c = {0};
    for (uint64_t i = 0; i < 3000; i++) // two days without a window
        assert_int_equal(spy_retention_now(&c, T + i * 60 * SEC, 7 * DAY + i * 60 * SEC, T),
                         T + i * 60 * SEC);
}

static void a_clock_that_jumps_ahead_is_never_trusted(void **state)
{
    (void)state;
    struct spy_retention_clock c = {0};
    assert_int_equal(spy_retention_now(&c, T, DAY, T - 10 * SEC), T);
    for (uint64_t i = 1; i < 300; i++) {
        uint64_t right = T + i * 60 * SEC;
        assert_int_equal(
            spy_retention_now(&c, right + 2 * DAY, DAY + i * 60 * SEC, right - 10 * SEC),
            right - 10 * SEC + SPY_RETENTION_SLACK_NS);
    }
    assert_int_equal(spy_retention_now(&c, T + 5 * HOUR, DAY + 5 * HOUR, T + 5 * HOUR - 10 * SEC),
                     T + 5 * HOUR);
}

static void a_clock_that_is_behind_drops_fewer_windows(void **state)
{
    (void)state;
    struct spy_retention_clock c = {0};
    spy_retention_now(&c, T, DAY, T);
    assert_int_equal(spy_retention_now(&c, T - 2 * DAY, DAY + 60 * SEC, T), T - 2 * DAY);
    assert_int_equal(spy_retention_now(&c, T + 120 * SEC, DAY + 120 * SEC, T + 110 * SEC),
                     T + 120 * SEC);
}

static void after_idle_days_the_first_window_confirms_the_clock(void **state)
{
    (void)state;
    struct spy_retention_clock c = {0}; // started anew: what was trusted before is seen_ns
    assert_int_equal(spy_retention_now(&c, T + 3 * DAY, 5 * SEC, T), T + SPY_RETENTION_SLACK_NS);
    assert_int_equal(
        spy_retention_now(&c, T + 3 * DAY + 60 * SEC, 65 * SEC, T + 3 * DAY + 50 * SEC),
        T + 3 * DAY + 60 * SEC);
}

static void windows_of_the_future_confirm_no_time_beyond_the_clock(void **state)
{
    (void)state;
    struct spy_retention_clock c = {0};
    assert_int_equal(spy_retention_now(&c, T, DAY, T + HOUR / 2), T);
    assert_int_equal(c.trusted_ns, T);
}

RUN(T(a_right_clock_is_trusted), T(a_clock_that_jumps_ahead_is_never_trusted),
    T(a_clock_that_is_behind_drops_fewer_windows),
    T(after_idle_days_the_first_window_confirms_the_clock),
    T(windows_of_the_future_confirm_no_time_beyond_the_clock))
