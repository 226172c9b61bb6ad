#include "agent/sampler/blame.h"
#include "tests/unit/test.h"

enum { HOLDS = SPY_STATE_GIL_HOLDS | SPY_STATE_RUNNING, WAITS = SPY_STATE_GIL_WAITS };
enum { GIL = 0x1000, OTHER_GIL = 0x2000 };

struct kit {
    struct spy_profile *profile;
    struct spy_label_set labels;
    struct spy_blame_to to;
    struct spy_blame_series series;
    struct spy_blamed got;
    uint32_t stacks[4], threads[4];
};

static void set_up(struct kit *k, const struct spy_profile_caps *caps)
{
    *k = (struct kit){.profile = spy_profile_new_capped(caps)};
    for (uint32_t i = 0; i < 4; i++) {
        struct spy_function f = {.start_line = i + 1};
        uint32_t function, frame;
        assert_int_equal(spy_profile_function(k->profile, &f, &function), 0);
        assert_int_equal(spy_profile_frame(k->profile, (struct spy_frame){function, 0}, &frame), 0);
        assert_int_equal(spy_profile_stack(k->profile, 0, frame, &k->stacks[i]), 0);
        assert_int_equal(spy_profile_thread(k->profile, i + 1, 0, &k->threads[i]), 0);
    }
    assert_int_equal(spy_label_set_put(&k->labels, SPY_LABEL_PID, "7"), 0);
    k->to = (struct spy_blame_to){
        .profile = k->profile, .epoch = 1, .unseen = k->stacks[3], .labels = &k->labels};
}

static void tear_down(struct kit *k)
{
    spy_label_set_free(&k->labels);
    spy_profile_free(k->profile);
}

static struct spy_seen_thread thread(const struct kit *k, int i, uint64_t gil, int state)
{
    return (struct spy_seen_thread){
        .gil = gil, .stack = k->stacks[i], .thread = k->threads[i], .state = (uint16_t)state};
}

static uint64_t blamed(const struct kit *k, int stack, int waiter)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < spy_profile_n_samples(k->profile); i++) {
        const struct spy_sample *s = spy_profile_sample_at(k->profile, i);
        bool is_it = s->stack == k->stacks[stack] && s->thread == k->threads[waiter];
        n += is_it && s->series == k->series.series ? s->count : 0;
    }
    return n;
}

static void each_waiter_blames_the_holder_of_its_own_gil(void **state)
{
    (void)state;
    struct kit k;
    set_up(&k, &(struct spy_profile_caps){0});
    const struct spy_seen_thread round[] = {thread(&k, 0, GIL, WAITS), thread(&k, 1, GIL, HOLDS),
                                            thread(&k, 2, OTHER_GIL, HOLDS),
                                            thread(&k, 3, OTHER_GIL, WAITS)};
    assert_int_equal(spy_blame_count(&k.to, round, 4, 5, &k.series, &k.got), 0);
    assert_int_equal(blamed(&k, 1, 0), 5);
    assert_int_equal(blamed(&k, 2, 3), 5);
    assert_int_equal(k.got.waits, 10);
    assert_int_equal(k.got.unseen, 0);
    assert_string_equal(spy_profile_series_label(k.profile, k.series.series, SPY_LABEL_SAMPLE_TYPE),
                        "gil_blame");
    assert_string_equal(spy_profile_series_label(k.profile, k.series.series, SPY_LABEL_PID), "7");
    tear_down(&k);
}

static void a_wait_without_a_holder_has_a_stack_that_says_so(void **state)
{
    (void)state;
    struct kit k;
    set_up(&k, &(struct spy_profile_caps){0});
    const struct spy_seen_thread round[] = {thread(&k, 0, GIL, WAITS),
                                            thread(&k, 1, OTHER_GIL, HOLDS)};
    assert_int_equal(spy_blame_count(&k.to, round, 2, 1, &k.series, &k.got), 0);
    assert_int_equal(blamed(&k, 3, 0), 1);
    assert_int_equal(k.got.unseen, 1);
    tear_down(&k);
}

static void nobody_is_blamed_where_nobody_waits(void **state)
{
    (void)state;
    struct kit k;
    set_up(&k, &(struct spy_profile_caps){0});
    const struct spy_seen_thread round[] = {thread(&k, 0, GIL, HOLDS), thread(&k, 1, GIL, 0)};
    assert_int_equal(spy_blame_count(&k.to, round, 2, 1, &k.series, &k.got), 0);
    assert_int_equal(spy_profile_n_samples(k.profile), 0);
    assert_int_equal(spy_profile_n_series(k.profile), 0);
    tear_down(&k);
}

static void blame_without_room_is_counted(void **state)
{
    (void)state;
    struct kit k;
    set_up(&k, &(struct spy_profile_caps){.samples = 1});
    const struct spy_seen_thread round[] = {thread(&k, 0, GIL, WAITS), thread(&k, 1, GIL, WAITS),
                                            thread(&k, 2, GIL, HOLDS)};
    assert_int_equal(spy_blame_count(&k.to, round, 3, 4, &k.series, &k.got), SPY_ERR_LIMIT);
    assert_int_equal(k.got.waits, 8);
    assert_int_equal(k.got.lost, 4);
    tear_down(&k);
}

static void the_blame_has_the_time_of_its_window_and_no_quality(void **state)
{
    (void)state;
    struct kit k;
    set_up(&k, &(struct spy_profile_caps){0});
    const struct spy_seen_thread round[] = {thread(&k, 0, GIL, WAITS), thread(&k, 1, GIL, HOLDS)};
    const struct spy_series part = {
        .start_ns = 100, .duration_ns = 1000, .period_ns = 10, .quality = {.clean = 3}};
    assert_int_equal(spy_blame_count(&k.to, round, 2, 1, &k.series, &k.got), 0);
    spy_blame_end_part(k.profile, 1, &part, &k.series);
    const struct spy_series *s = spy_profile_series_get(k.profile, k.series.series);
    assert_int_equal(s->period_ns, 10);
    assert_int_equal(s->duration_ns, 1000);
    assert_true(spy_quality_is_zero(&s->quality));
    assert_int_equal(k.series.epoch, 0);
    tear_down(&k);
}

RUN(T(each_waiter_blames_the_holder_of_its_own_gil),
    T(a_wait_without_a_holder_has_a_stack_that_says_so), T(nobody_is_blamed_where_nobody_waits),
    T(blame_without_room_is_counted), T(the_blame_has_the_time_of_its_window_and_no_quality))
