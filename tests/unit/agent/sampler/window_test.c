// A profile whose size is bounded (window_bytes): what is new once it is full counts as failed, and
// the next window has room. Processes that need not be Python (optional).
#include "children.h"
#include "tests/unit/test.h"
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WINDOW = 64 << 10, RATE = 500 };

static struct spy_sampler *new_bounded_sampler(size_t window_bytes)
{
    struct spy_sampler *s = NULL;
    struct spy_sampler_options o = {.window_bytes = window_bytes, .profile_bytes = 1};
    assert_int_equal(spy_sampler_new(&o, &s, NULL), 0);
    return s;
}

static void run_until_no_room(struct spy_sampler *s)
{
    uint64_t before = spy_sampler_totals(s).no_room;
    for (int i = 0; i < 600 && spy_sampler_totals(s).no_room == before; i++)
        run_for(s, 0.1);
    assert_true(spy_sampler_totals(s).no_room > before);
}

static void a_full_window_takes_no_new_stacks_and_says_so(void **state)
{
    (void)state;
    char line[64];
    struct child c = start_child("grower.py", NULL);
    read_line(&c, line, sizeof line);
    struct spy_sampler *s = new_bounded_sampler(WINDOW);
    add_process(s, c.pid, RATE, SPY_PAUSE_AUTO);
    run_until_no_room(s);
    struct spy_sampler_totals full = spy_sampler_totals(s);
    assert_true(full.samples > 0 && full.failed >= full.no_room);
    assert_true(spy_profile_memory(spy_sampler_close(s)) < 2 * WINDOW);
    run_until_no_room(s);
    // A known stack that is met in another state still takes a row.
    assert_true(spy_profile_memory(spy_sampler_close(s)) < 2 * WINDOW);
    // A profile larger than profile_bytes is replaced: the next window has room.
    spy_sampler_reset(s);
    uint64_t before = spy_sampler_totals(s).samples;
    run_until_no_room(s);
    assert_true(spy_sampler_totals(s).samples > before);
    spy_sampler_free(s);
    end_child(&c);
}

static void a_stack_that_is_known_is_counted_in_a_full_window(void **state)
{
    (void)state;
    char line[64];
    struct child sleeper = start_child("sleeper.py", NULL), grower = start_child("grower.py", NULL);
    read_line(&sleeper, line, sizeof line);
    read_line(&grower, line, sizeof line);
    struct spy_sampler *s = new_bounded_sampler(WINDOW);
    add_process(s, sleeper.pid, RATE, SPY_PAUSE_AUTO);
    for (int i = 0; i < 600 && !spy_sampler_totals(s).samples; i++)
        run_for(s, 0.1);
    add_process(s, grower.pid, RATE, SPY_PAUSE_AUTO);
    run_until_no_room(s);
    spy_sampler_remove(s, grower.pid);
    struct spy_sampler_totals before = spy_sampler_totals(s);
    for (int i = 0; i < 600 && spy_sampler_totals(s).samples == before.samples; i++)
        run_for(s, 0.1);
    struct spy_sampler_totals after = spy_sampler_totals(s);
    assert_true(after.samples > before.samples);
    assert_int_equal(after.no_room, before.no_room);
    spy_sampler_free(s);
    end_child(&sleeper);
    end_child(&grower);
}

static void without_a_bound_there_is_room(void **state)
{
    (void)state;
    char line[64];
    struct child c = start_child("grower.py", NULL);
    read_line(&c, line, sizeof line);
    struct spy_sampler *s = new_bounded_sampler(0);
    add_process(s, c.pid, RATE, SPY_PAUSE_AUTO);
    for (int i = 0; i < 600 && spy_profile_memory(spy_sampler_close(s)) < 4 * WINDOW; i++)
        run_for(s, 0.1);
    assert_true(spy_profile_memory(spy_sampler_close(s)) >= 4 * WINDOW);
    assert_int_equal(spy_sampler_totals(s).no_room, 0);
    spy_sampler_free(s);
    end_child(&c);
}

static pid_t start_other(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl("/bin/sleep", "sleep", "600", (char *)NULL);
        _exit(1);
    }
    return pid;
}

// Samples a process that is not Python, and returns how many samples failed.
static uint64_t count_failures(pid_t pid, bool optional)
{
    static const char *const labels[][2] = {{SPY_LABEL_PID, "1"}};
    struct spy_sampler *s = new_sampler(0);
    struct spy_sampler_process p = {
        .pid = pid, .rate = RATE, .optional = optional, .labels = labels, .n_labels = 1};
    assert_int_equal(spy_sampler_add(s, &p, NULL), 0);
    for (int i = 0; i < 600 && !spy_sampler_problem(s, pid); i++)
        run_for(s, 0.1);
    assert_non_null(strstr(spy_sampler_problem(s, pid), "no Python in process"));
    const struct spy_profile *profile = spy_sampler_close(s);
    uint64_t failed = spy_sampler_totals(s).failed;
    assert_true(spy_profile_n_series(profile) > 0); // it is listed in either case
    for (uint32_t i = 0; i < spy_profile_n_series(profile); i++)
        if (optional)
            assert_int_equal(spy_profile_series_get(profile, i)->quality.failed, 0);
    spy_sampler_free(s);
    return failed;
}

static void a_process_that_need_not_be_python_does_not_fail(void **state)
{
    (void)state;
    pid_t pid = start_other();
    assert_int_equal(count_failures(pid, true), 0);
    assert_true(count_failures(pid, false) > 0);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

RUN(T(a_full_window_takes_no_new_stacks_and_says_so),
    T(a_stack_that_is_known_is_counted_in_a_full_window), T(without_a_bound_there_is_room),
    T(a_process_that_need_not_be_python_does_not_fail))
