// Samples held against the kernel's clock: what adds up, what is not known, and when a reader is
// warned.
#include "shared/base/mem.h"
#include "tests/data/synthetic.h"
#include "tests/unit/test.h"
#include <string.h>

#define SEC UINT64_C(1000000000)

static struct spy_account account_of(double seen, double cpu, double waited)
{
    return (struct spy_account){
        .counted = {[SPY_CPU] = {(uint64_t)(cpu * 1e9), SEC},
                    [SPY_RUNQUEUE] = {(uint64_t)(waited * 1e9), waited < 0 ? 0 : SEC}},
        .running_ns = (uint64_t)(seen * 1e9)};
}

static void assert_says(const struct spy_account *a, const char *facts, const char *warning)
{
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(4096), w = SPY_BUF_INIT(4096);
    assert_int_equal(spy_account_print(a, &b), 0);
    assert_int_equal(spy_account_warn(a, &w), 0);
    assert_string_equal(spy_buf_str(&b), facts);
    if (*warning ? !strstr(spy_buf_str(&w), warning) : w.len)
        fail_msg("it warns: %s", spy_buf_str(&w));
}

static void the_account_compares_samples_with_cpu_time(void **state)
{
    (void)state;
    struct spy_account a = account_of(0.095, 0.097, 0.0004);
    assert_says(&a,
                "The kernel counted 9.7 % of CPU time, the samples say 9.5 %. Waiting for a CPU: "
                "0.0 %.",
                "");
    a = account_of(3.9, 4, -1); // four threads; nobody knows whether they waited
    assert_says(&a, "The kernel counted 400.0 % of CPU time, the samples say 390.0 %.", "");
    a = account_of(0.5, 0.25, 0.25);
    assert_says(&a,
                "The kernel counted 25.0 % of CPU time, the samples say 50.0 %. Waiting for a CPU: "
                "25.0 %, up to 50 % of what is shown as running.",
                "waited for a CPU were taken for running");
    a.running_ns = SEC / 4;
    a.runnable_ns = SEC / 4; // now the samples tell the two apart
    assert_says(&a,
                "The kernel counted 25.0 % of CPU time, the samples say 25.0 %. Waiting for a CPU: "
                "25.0 %, the samples say 25.0 %.",
                "");
}

// Short-lived children whose waiting is not known, beside a parent whose waiting is.
static void waiting_is_compared_over_the_windows_that_know_it(void **state)
{
    (void)state;
    struct spy_account a = account_of(0.5, 0.5, 0.0035);
    a.counted[SPY_RUNQUEUE].of_ns = SEC / 4;
    a.runnable_ns = SEC / 250;
    assert_says(&a,
                "The kernel counted 50.0 % of CPU time, the samples say 50.0 %. Waiting for a CPU: "
                "1.4 %, the samples say 1.6 % (known for 25 % of the time).",
                "");
}

static void an_unknown_counter_is_not_zero(void **state)
{
    (void)state;
    struct spy_account a = {.running_ns = 5};
    assert_says(&a, "", "");
    assert_int_equal(spy_account_flags(&a), 0);
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(4096);
    assert_int_equal(spy_account_json(&a, &b), 0);
    assert_non_null(strstr(spy_buf_str(&b), "\"cpu_ns\":null,\"runqueue_ns\":null"));
    a.counted[SPY_CPU] = (struct spy_counted){0, SEC}; // known: none
    spy_buf_reset(&b);
    assert_int_equal(spy_account_json(&a, &b), 0);
    assert_non_null(strstr(spy_buf_str(&b), "\"cpu_ns\":0,\"runqueue_ns\":null"));
}

static void a_difference_over_two_points_and_a_tenth_is_warned_of(void **state)
{
    (void)state;
    static const struct {
        double seen, counted;
        bool differs;
    } rows[] = {
        {0.00, 0.10, true},   {0.085, 0.10, false}, {0.079, 0.10, true}, {0.121, 0.10, true},
        {0.119, 0.10, false}, {0.01, 0.0, false},   {0.021, 0.0, true},  {1.89, 2.0, false},
        {1.79, 2.0, true},    {2.19, 2.0, false},   {2.21, 2.0, true},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        struct spy_account a = account_of(rows[i].seen, rows[i].counted, 0);
        if (!!(spy_account_flags(&a) & SPY_ACCOUNT_DIFFERS) != rows[i].differs)
            fail_msg("%.3f beside %.3f", rows[i].seen, rows[i].counted);
    }
    struct spy_account missed = account_of(0, 0.1, 0);
    assert_says(&missed,
                "The kernel counted 10.0 % of CPU time, the samples say 0.0 %. Waiting for a CPU: "
                "0.0 %.",
                "Short work is missed");
}

// 100 samples a second of 20 % over 2 s are 40: four points are nothing with so few.
static void a_difference_that_chance_explains_is_not_warned_of(void **state)
{
    (void)state;
    struct spy_account a = account_of(0.24, 0.2, 0);
    assert_int_equal(spy_account_flags(&a), SPY_ACCOUNT_DIFFERS);
    a.period_ns = a.counted[SPY_CPU].of_ns / 200;
    assert_int_equal(spy_account_flags(&a), 0);
    a.period_ns = a.counted[SPY_CPU].of_ns / 20000;
    assert_int_equal(spy_account_flags(&a), SPY_ACCOUNT_DIFFERS);
    struct spy_account missed = account_of(0, 0.2, 0);
    missed.period_ns = missed.counted[SPY_CPU].of_ns / 200;
    assert_int_equal(spy_account_flags(&missed), SPY_ACCOUNT_DIFFERS);
}

static void throttling_is_reported_and_warned_of(void **state)
{
    (void)state;
    struct spy_account a = account_of(0.2, 0.2, 0);
    a.counted[SPY_THROTTLED] = a.counted[SPY_PERIODS] = (struct spy_counted){0, SEC};
    assert_int_equal(spy_account_flags(&a), 0);
    a.counted[SPY_THROTTLED].sum = 7 * SEC / 10;
    a.counted[SPY_PERIODS].sum = 9;
    assert_int_equal(spy_account_flags(&a), SPY_ACCOUNT_THROTTLED);
    assert_says(&a,
                "The kernel counted 20.0 % of CPU time, the samples say 20.0 %. Waiting for a CPU: "
                "0.0 %. Throttled by its CPU limit in 9 periods, for 0.70 s.",
                "It is throttled");
}

// --- profiles ---

static uint32_t add_series(struct spy_profile *p, const char *pid, const char *container)
{
    struct spy_label l[2];
    uint32_t id = 0;
    spy_profile_cstr(p, SPY_LABEL_PID, &l[0].key);
    spy_profile_cstr(p, pid, &l[0].value);
    spy_profile_cstr(p, SPY_LABEL_CONTAINER_ID, &l[1].key);
    spy_profile_cstr(p, container ? container : "", &l[1].value);
    assert_int_equal(spy_profile_series(p, l, container ? 2 : 1, &id), 0);
    return id;
}

// A window of 10 s from `start` seconds that used 2 s of CPU, and whose limit stopped it 5 times.
static void add_window(struct spy_profile *p, const char *pid, const char *container,
                       uint64_t start)
{
    struct spy_series *s = spy_profile_series_at(p, add_series(p, pid, container));
    struct spy_series window = {.start_ns = start * SEC, .duration_ns = 10 * SEC};
    for (int c = 0; c < SPY_COUNTERS; c++)
        window.account.counted[c].of_ns = 10 * SEC;
    window.account.counted[SPY_CPU].sum = 2 * SEC;
    window.account.counted[SPY_THROTTLED].sum = 3 * SEC;
    window.account.counted[SPY_PERIODS].sum = 5;
    window.account.running_ns = 2 * SEC;
    spy_series_unite(s, &window);
}

static void assert_whole(const struct spy_profile *p, double share, uint64_t periods)
{
    struct spy_account a;
    assert_int_equal(spy_profile_account(p, &a), 0);
    double got = spy_account_share(&a, SPY_CPU);
    if (got < share - 0.001 || got > share + 0.001 || a.counted[SPY_PERIODS].sum != periods)
        fail_msg("%.3f CPUs, %d periods", got, (int)a.counted[SPY_PERIODS].sum);
}

static void processes_at_once_share_the_time_and_the_limit(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    add_window(p, "1", "c1", 100);
    assert_whole(p, 0.2, 5);
    add_window(p, "1", "c1", 110); // the next window of the same
    assert_whole(p, 0.2, 10);
    add_window(p, "2", "c1", 100);
    add_window(p, "2", "c1", 110); // a second worker in the same container: the limit is one
    assert_whole(p, 0.4, 10);
    add_window(p, "3", "c2", 100);
    add_window(p, "3", "c2", 110); // another container has its own
    assert_whole(p, 0.6, 20);
    add_window(p, "4", NULL, 100);
    add_window(p, "5", NULL, 100); // of these it is not known
    assert_whole(p, 0.8, 30);
}

static void processes_one_after_the_other_add_up_in_time(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    for (uint64_t i = 0; i < 6; i++)
        add_window(p, (const char[]){(char)('1' + i), 0}, "c1", 100 + 10 * i);
    assert_whole(p, 0.2, 30);
    add_window(p, "9", "c1", 1000); // time in which nobody looked does not thin it out
    assert_whole(p, 0.2, 35);
}

static void windows_without_counters_change_nothing(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    add_window(p, "1", NULL, 100);
    struct spy_series old = {.start_ns = 110 * SEC, .duration_ns = 10 * SEC, .period_ns = SEC};
    spy_series_unite(spy_profile_series_at(p, 0), &old);
    assert_whole(p, 0.2, 5);
}

static void only_samples_beside_a_known_count_are_compared(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    uint32_t known = add_series(p, "1", NULL), unknown = add_series(p, "2", NULL), frame, f, stack;
    spy_profile_function(p, &(struct spy_function){0}, &f);
    spy_profile_frame(p, (struct spy_frame){f, 1}, &frame);
    spy_profile_stack(p, 0, frame, &stack);
    for (uint32_t s = known; s <= unknown; s++) {
        spy_profile_series_at(p, s)->period_ns = 10;
        spy_profile_add(p, s, stack, 0, SPY_STATE_RUNNING | SPY_STATE_GIL_HOLDS, 3, 0);
        spy_profile_add(p, s, stack, 0, SPY_STATE_RUNNABLE, 2, 0);
        spy_profile_add(p, s, stack, 0, 0, 100, 0);
    }
    spy_profile_series_at(p, known)->account.counted[SPY_CPU].of_ns = SEC;
    spy_profile_weigh(p);
    spy_profile_weigh(p); // it sets, and does not add
    const struct spy_account *a = &spy_profile_series_get(p, known)->account;
    assert_true(a->running_ns == 30 && !a->runnable_ns); // how long it waited is not known
    spy_profile_series_at(p, known)->account.counted[SPY_RUNQUEUE].of_ns = SEC;
    spy_profile_weigh(p);
    a = &spy_profile_series_get(p, known)->account;
    assert_true(a->running_ns == 30 && a->runnable_ns == 20);
    a = &spy_profile_series_get(p, unknown)->account;
    assert_true(!a->running_ns && !a->runnable_ns);
}

static void sums_do_not_wrap(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    struct spy_account full, a;
    memset(&full, 0xff, sizeof full);
    a = full;
    spy_account_unite(&a, &full);
    assert_memory_equal(&a, &full, sizeof a);
    struct spy_series *s = spy_profile_series_at(p, add_series(p, "1", "c"));
    s->start_ns = s->duration_ns = UINT64_MAX;
    s->account = full;
    assert_int_equal(spy_profile_account(p, &a), 0);
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(4096);
    assert_int_equal(spy_account_print(&a, &b), 0);
    assert_int_equal(spy_account_warn(&full, &b), 0);
}

RUN(T(the_account_compares_samples_with_cpu_time),
    T(waiting_is_compared_over_the_windows_that_know_it), T(an_unknown_counter_is_not_zero),
    T(a_difference_over_two_points_and_a_tenth_is_warned_of),
    T(a_difference_that_chance_explains_is_not_warned_of), T(throttling_is_reported_and_warned_of),
    T(processes_at_once_share_the_time_and_the_limit),
    T(processes_one_after_the_other_add_up_in_time), T(windows_without_counters_change_nothing),
    T(only_samples_beside_a_known_count_are_compared), T(sums_do_not_wrap))
