// The samples of a thread stand for the time of their window, however long rounds take. The clock is
// made up, so that it is the reading alone that takes long; the process is real.
#include "children.h"
#include "shared/base/clock.h"
#include "tests/unit/test.h"

enum { RATE = 100, SECONDS = 2, THREADS = 2 };
#define SLOW_ROUND_NS (50 * SPY_NS_PER_MS)

static struct {
    uint64_t now, takes_ns; // what each round takes from here on
    unsigned every, n;      // every nth does; 0: all do
} seen;

// CMakeLists.txt puts these in front of the real ones.
uint64_t __wrap_spy_clock_mono_ns(void);
uint64_t __wrap_spy_clock_real_ns(void);
int __wrap_spy_clock_sleep_until(uint64_t deadline_ns);
int __wrap_spy_python_refresh(struct spy_python *p);
int __real_spy_python_refresh(struct spy_python *p);

uint64_t __wrap_spy_clock_mono_ns(void)
{
    return seen.now;
}

uint64_t __wrap_spy_clock_real_ns(void)
{
    return seen.now;
}

int __wrap_spy_clock_sleep_until(uint64_t deadline_ns)
{
    seen.now = deadline_ns > seen.now ? deadline_ns : seen.now;
    return 0;
}

int __wrap_spy_python_refresh(struct spy_python *p)
{
    if (!seen.every || seen.n++ % seen.every == 0)
        seen.now += seen.takes_ns;
    return __real_spy_python_refresh(p);
}

static struct child sleeper;
static struct spy_sampler *sampler;

static int start_sampling(void **state)
{
    (void)state;
    char line[64];
    sleeper = start_child("sleeper.py", NULL);
    read_line(&sleeper, line, sizeof line);
    sampler = new_sampler(0);
    seen.now = SPY_NS_PER_SEC;
    seen.takes_ns = seen.every = seen.n = 0;
    add_process(sampler, sleeper.pid, RATE, SPY_PAUSE_AUTO);
    for (int i = 0; i < 600 && !spy_sampler_totals(sampler).samples; i++)
        run_for(sampler, 0.1);
    spy_sampler_close(sampler);
    spy_sampler_reset(sampler);
    return 0;
}

static int end_sampling(void **state)
{
    (void)state;
    spy_sampler_free(sampler);
    end_child(&sleeper);
    return 0;
}

static void run_seconds(uint64_t takes_ns, unsigned every)
{
    seen.takes_ns = takes_ns;
    seen.every = every;
    run_for(sampler, SECONDS);
}

// Each thread is in every round: its samples are to stand for all of the window.
static void assert_weighs(uint64_t since, uint64_t *ret_late)
{
    const struct spy_profile *p = spy_sampler_close(sampler);
    uint64_t passed = seen.now - since, ns = 0, of = 0;
    *ret_late = 0;
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++)
        ns += spy_profile_sample_at(p, i)->ns;
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++) {
        const struct spy_series *e = spy_profile_series_get(p, i);
        of += e->duration_ns;
        *ret_late += e->quality.late;
        assert_int_equal(e->quality.failed, 0);
    }
    print_message("of %.3f s: a window of %.3f s, %llu rounds late, samples of %.3f s\n",
                  (double)passed / 1e9, (double)of / 1e9, (unsigned long long)*ret_late,
                  (double)ns / 1e9);
    assert_int_equal(of, passed);
    assert_true(ns > THREADS * passed * 99 / 100 && ns <= THREADS * passed);
}

static void slow_and_quick_rounds_stand_for_their_window(void **state)
{
    (void)state;
    uint64_t since = seen.now, late;
    run_seconds(0, 0);
    assert_weighs(since, &late);
    assert_int_equal(late, 0);
    spy_sampler_reset(sampler);
    since = seen.now;
    run_seconds(SLOW_ROUND_NS, 7);
    assert_weighs(since, &late);
    assert_true(late > 0);
}

// Some tens of rounds in the first part, hundreds in the second.
static void a_window_that_continues_weighs_its_parts_by_their_rounds(void **state)
{
    (void)state;
    uint64_t since = seen.now, late;
    run_seconds(SLOW_ROUND_NS, 0);
    assert_weighs(since, &late);
    assert_true(late > 0);
    run_seconds(0, 0);
    assert_weighs(since, &late);
}

#define SAMPLED(f) cmocka_unit_test_setup_teardown(f, start_sampling, end_sampling)
RUN(SAMPLED(slow_and_quick_rounds_stand_for_their_window),
    SAMPLED(a_window_that_continues_weighs_its_parts_by_their_rounds))
