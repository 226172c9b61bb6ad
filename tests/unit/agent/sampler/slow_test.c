// A process that takes long to be read leaves time to the others. The clock is made up, so that it
// is the reading alone that takes long; the processes are real.
#include "children.h"
#include "shared/base/clock.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RATE = 100, SECONDS = 4 };
#define ROUND_NS (20 * SPY_NS_PER_MS) // of the slow one

static struct {
    uint64_t now;
    const struct spy_python *slow;
} seen;

// CMakeLists.txt puts these in front of the real ones.
uint64_t __wrap_spy_clock_mono_ns(void);
int __wrap_spy_clock_sleep_until(uint64_t deadline_ns);
int __wrap_spy_python_refresh(struct spy_python *p);
int __real_spy_python_refresh(struct spy_python *p);

uint64_t __wrap_spy_clock_mono_ns(void)
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
    if (p == seen.slow)
        seen.now += ROUND_NS;
    return __real_spy_python_refresh(p);
}

// Rounds of the window, from its thread-samples: steady.py has four threads.
static uint64_t rounds_of(const struct spy_profile *p, pid_t pid, uint64_t *ret_late)
{
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++) {
        const char *text = spy_profile_series_label(p, i, SPY_LABEL_PID);
        const struct spy_series *e = spy_profile_series_get(p, i);
        if (!text || strtol(text, NULL, 10) != pid || !e->start_ns)
            continue;
        *ret_late = e->quality.late;
        return (e->quality.clean + e->quality.paused + e->quality.failed) / 4;
    }
    return 0;
}

static void a_slow_process_leaves_time_to_the_others(void **state)
{
    (void)state;
    struct child slow = start_steady(), other = start_steady();
    struct spy_sampler *s = new_sampler(0);
    seen.now = SPY_NS_PER_SEC;
    add_process(s, slow.pid, RATE, SPY_PAUSE_AUTO);
    add_process(s, other.pid, RATE, SPY_PAUSE_AUTO);
    while (!spy_sampler_attached(s, slow.pid) || !spy_sampler_attached(s, other.pid))
        run_for(s, 0.1);
    seen.slow = spy_sampler_python(s, slow.pid);
    for (int i = 0; i < 2; i++) { // the window before is what the share is settled by
        spy_sampler_close(s);
        spy_sampler_reset(s);
        run_for(s, SECONDS);
    }
    uint64_t late_slow = 0, late_other = 0;
    const struct spy_profile *p = spy_sampler_close(s);
    uint64_t of_slow = rounds_of(p, slow.pid, &late_slow);
    uint64_t of_other = rounds_of(p, other.pid, &late_other);
    print_message("slow: %llu rounds, %llu late; other: %llu rounds, %llu late\n",
                  (unsigned long long)of_slow, (unsigned long long)late_slow,
                  (unsigned long long)of_other, (unsigned long long)late_other);
    // A fifth of the time, in rounds of 20 ms; and of 400 rounds the other misses those meanwhile.
    assert_true(of_slow > 25 && of_slow < 55);
    assert_true(of_other > 300);
    assert_true(late_slow > 250 && of_slow + late_slow < RATE * SECONDS * 11 / 10);
    assert_true(of_other + late_other > RATE * SECONDS * 85 / 100);
    spy_sampler_free(s);
    end_child(&slow);
    end_child(&other);
}

RUN(T(a_slow_process_leaves_time_to_the_others))
