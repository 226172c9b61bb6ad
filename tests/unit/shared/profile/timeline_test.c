#include "shared/base/mem.h"
#include "shared/profile/timeline.h"
#include "tests/unit/test.h"
#include <string.h>

#define MS 1000000u

SPY_CLEANUP(timeline_done, struct spy_timeline, spy_timeline_free)

static void check_run(const struct spy_timeline *t, uint32_t i, struct spy_run want)
{
    struct spy_run got = spy_timeline_at(t, i);
    assert_int_equal(got.series, want.series);
    assert_int_equal(got.thread, want.thread);
    assert_int_equal(got.stack, want.stack);
    assert_int_equal(got.state, want.state);
    assert_int_equal(got.count, want.count);
    assert_int_equal(got.at_ns, want.at_ns);
}

static void equal_samples_of_one_thread_are_one_run(void **state)
{
    (void)state;
    _cleanup_(timeline_done) struct spy_timeline *t = spy_timeline_new(1 << 20);
    uint64_t now = 5000 * MS;
    for (int i = 0; i < 10; i++, now += 10 * MS) { // two threads, in turn
        spy_timeline_add(t, 0, 7, 1, SPY_STATE_RUNNING, 1, now);
        spy_timeline_add(t, 0, i < 5 ? 8 : 9, 2, SPY_STATE_RUNNING, 1, now);
    }
    spy_timeline_add(t, 0, 7, 1, 0, 3, now); // waiting is another state
    assert_int_equal(spy_timeline_n(t), 4);
    check_run(t, 0, (struct spy_run){0, 1, 7, SPY_STATE_RUNNING, 10, 0});
    check_run(t, 1, (struct spy_run){0, 2, 8, SPY_STATE_RUNNING, 5, 0});
    check_run(t, 2, (struct spy_run){0, 2, 9, SPY_STATE_RUNNING, 5, 50 * MS});
    check_run(t, 3, (struct spy_run){0, 1, 7, 0, 3, 100 * MS});
    assert_false(spy_timeline_is_full(t));
}

static void a_repeated_stack_after_another_is_a_new_run(void **state)
{
    (void)state;
    _cleanup_(timeline_done) struct spy_timeline *t = spy_timeline_new(1 << 20);
    static const uint32_t stacks[] = {1, 2, 1, 1, 2};
    for (size_t i = 0; i < SPY_COUNT(stacks); i++)
        spy_timeline_add(t, 0, stacks[i], 1, 1, 1, i * MS + 1);
    assert_int_equal(spy_timeline_n(t), 4);
    assert_int_equal(spy_timeline_at(t, 2).count, 2);
}

static void one_thread_of_two_series_has_two_stories(void **state)
{
    (void)state;
    _cleanup_(timeline_done) struct spy_timeline *t = spy_timeline_new(1 << 20);
    spy_timeline_add(t, 0, 1, 1, 1, 1, 1);
    spy_timeline_add(t, 1, 1, 1, 1, 1, 2);
    assert_int_equal(spy_timeline_n(t), 2);
    assert_int_equal(spy_timeline_at(t, 1).series, 1);
}

static void counts_are_kept_however_large(void **state)
{
    (void)state;
    _cleanup_(timeline_done) struct spy_timeline *t = spy_timeline_new(1 << 20);
    const uint64_t parts[] = {(1u << 24) - 2, 1, 1, 100000000};
    uint64_t want = 0, sum = 0;
    for (size_t i = 0; i < SPY_COUNT(parts); i++) {
        spy_timeline_add(t, 0, 1, 1, 1, parts[i], 1);
        want += parts[i];
    }
    for (uint32_t i = 0; i < spy_timeline_n(t); i++)
        sum += spy_timeline_at(t, i).count;
    assert_int_equal(sum, want);
}

static void a_timeline_at_its_memory_limit_is_marked_full(void **state)
{
    (void)state;
    enum { RUNS = 1000 };
    _cleanup_(timeline_done) struct spy_timeline *t = spy_timeline_new(16 * RUNS);
    for (uint32_t i = 0; i < RUNS; i++) {
        assert_false(spy_timeline_is_full(t));
        spy_timeline_add(t, 0, i, 1, 1, 1, i);
    }
    spy_timeline_add(t, 0, RUNS - 1, 1, 1, 5, RUNS); // the last run grows: no room is needed
    assert_false(spy_timeline_is_full(t));
    spy_timeline_add(t, 0, RUNS, 1, 1, 1, RUNS);
    assert_true(spy_timeline_is_full(t));
    spy_timeline_add(t, 0, RUNS, 1, 1, 1, RUNS);
    assert_int_equal(spy_timeline_n(t), RUNS);
    assert_int_equal(spy_timeline_at(t, RUNS - 1).count, 6);
}

static void many_threads_are_bounded_too(void **state)
{
    (void)state;
    _cleanup_(timeline_done) struct spy_timeline *t = spy_timeline_new(1 << 16);
    uint32_t thread = 0;
    for (; thread < 1 << 16 && !spy_timeline_is_full(t); thread++)
        spy_timeline_add(t, 0, 1, thread, 1, 1, 1);
    assert_true(spy_timeline_is_full(t));
    assert_in_range(thread, 100, (1 << 16) / 128 + 1);
}

static void a_timeline_at_its_time_limit_is_marked_full(void **state)
{
    (void)state;
    _cleanup_(timeline_done) struct spy_timeline *t = spy_timeline_new(1 << 20);
    spy_timeline_add(t, 0, 1, 1, 1, 1, 1);
    spy_timeline_add(t, 0, 2, 1, 1, 1, (uint64_t)UINT32_MAX * MS);
    assert_false(spy_timeline_is_full(t));
    spy_timeline_add(t, 0, 3, 1, 1, 1, ((uint64_t)UINT32_MAX + 2) * MS);
    assert_true(spy_timeline_is_full(t));
}

RUN(T(equal_samples_of_one_thread_are_one_run), T(a_repeated_stack_after_another_is_a_new_run),
    T(one_thread_of_two_series_has_two_stories), T(counts_are_kept_however_large),
    T(a_timeline_at_its_memory_limit_is_marked_full), T(many_threads_are_bounded_too),
    T(a_timeline_at_its_time_limit_is_marked_full))
