#include "shared/formats/filter.h"
#include "shared/formats/format.h"
#include "shared/profile/timeline.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A profile of one thread of process 7, with n samples of each of these states.
static struct spy_profile *make_states(const uint32_t *states, size_t n_states, uint64_t n)
{
    struct spy_profile *p = spy_profile_new();
    struct spy_label label;
    uint32_t series, thread, stack, frame, function, name;
    spy_profile_cstr(p, SPY_LABEL_PID, &label.key);
    spy_profile_cstr(p, "7", &label.value);
    spy_profile_series(p, &label, 1, &series);
    spy_profile_cstr(p, "work", &name);
    spy_profile_function(p, &(struct spy_function){.name = name}, &function);
    spy_profile_frame(p, (struct spy_frame){.function = function}, &frame);
    spy_profile_stack(p, 0, frame, &stack);
    spy_profile_thread(p, 70, name, &thread);
    for (size_t i = 0; i < n_states; i++)
        spy_profile_add(p, series, stack, thread, states[i], n, 0);
    return p;
}

static void check_why(const uint32_t *states, size_t n, const struct spy_view *v, const char *want)
{
    struct spy_profile *p = make_states(states, n, 50);
    _cleanup_buf_ struct spy_buf why = SPY_BUF_INIT(1000);
    assert_int_equal(spy_view_why_empty(p, v, &why), 0);
    assert_string_equal(spy_buf_str(&why), want);
    spy_profile_free(p);
}

#define WHY(v, want, ...)                                                                          \
    check_why((const uint32_t[]){__VA_ARGS__},                                                     \
              sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t),                          \
              &(struct spy_view){.command_line = true, v}, want)

static void an_empty_view_says_why_and_what_to_ask_for(void **state)
{
    (void)state;
    enum { WAITS = 0, RUNS = SPY_STATE_RUNNING, HOLDS = SPY_STATE_GIL_HOLDS };
#define NOTHING "No samples to show: "
    check_why(NULL, 0, &(struct spy_view){.idle = true}, NOTHING "none was taken.");
    WHY(.idle = false,
        NOTHING "every thread was waiting in each of the 50 taken; --idle shows them.", WAITS);
    WHY(.gil = true,
        NOTHING
        "every thread was waiting in each of the 50 taken; --idle without --gil shows them.",
        WAITS);
    WHY(.gil = true,
        NOTHING
        "no thread held the interpreter's lock (GIL) in any of the 100 taken; without --gil "
        "they are shown.",
        RUNS, WAITS);
    WHY(.gil = true,
        NOTHING "no thread that ran held the interpreter's lock (GIL) in any of the 100 taken; "
                "without --gil they are shown.",
        RUNS, HOLDS);
    WHY(.idle = true, "", WAITS);
    WHY(.gil = true, "", RUNS | HOLDS, WAITS);
}

static void over_http_the_hint_names_parameters(void **state)
{
    (void)state;
    const uint32_t waits[] = {0};
    check_why(waits, 1, &(struct spy_view){.idle = false},
              NOTHING "every thread was waiting in each of the 50 taken; idle=1 shows them.");
    check_why(waits, 1, &(struct spy_view){.gil = true},
              NOTHING "every thread was waiting in each of the 50 taken; gil=0&idle=1 shows them.");
}

static void a_filter_that_leaves_nothing_is_the_reason(void **state)
{
    (void)state;
    struct spy_profile *p = make_states((const uint32_t[]){0}, 1, 50);
    struct spy_filter *f = NULL;
    const struct spy_filter_options o = {.threads = {"other"}, .n_threads = 1};
    assert_int_equal(spy_filter_new(&o, p, &f, NULL), 0);
    _cleanup_buf_ struct spy_buf why = SPY_BUF_INIT(1000);
    spy_view_why_empty(p, &(struct spy_view){.filter = f}, &why);
    assert_string_equal(spy_buf_str(&why), NOTHING "the filters leave none.");
    spy_filter_free(f);
    spy_profile_free(p);
}

static void every_format_lists_its_names(void **state)
{
    (void)state;
    char names[1000];
    size_t n, at = 0;
    const struct spy_format *const *all = spy_format_list(&n);
    assert_true(strncmp(spy_format_names(names, sizeof names, " "), "flamegraph svg ", 15) == 0);
    char *save = NULL, *name = strtok_r(names, " ", &save);
    for (; at < n && name; at++, name = strtok_r(NULL, " ", &save)) {
        if (all[at]->alias) {
            assert_string_equal(name, all[at]->alias);
            name = strtok_r(NULL, " ", &save);
        }
        assert_string_equal(name, all[at]->name);
    }
    assert_true(at == n && !name);
    for (size_t size = 1; size < 20; size++)
        assert_in_range(strlen(spy_format_names(names, size, ", ")), 0, size - 1);
}

// --- speedscope's order ---

static void print_speedscope(const struct spy_profile *p, const struct spy_view *v,
                             struct spy_buf *out)
{
    assert_int_equal(spy_format_find("speedscope")->print(p, v, out, NULL), 0);
}

// Stacks are seen as 1 (50 samples), 2 (30), 1 (20), waiting between the last two.
static struct spy_profile *make_ordered(struct spy_timeline *t)
{
    static const struct {
        uint32_t stack, state, count;
    } seen[] = {{1, 1, 50}, {2, 1, 30}, {2, 0, 40}, {1, 1, 15}, {1, 0, 9}, {1, 1, 5}};
    struct spy_profile *p = make_states((const uint32_t[]){1}, 1, 0);
    uint32_t stack;
    spy_profile_stack(p, 1, 0, &stack);
    assert_int_equal(stack, 2);
    for (size_t i = 0; i < sizeof seen / sizeof *seen; i++) {
        spy_profile_add(p, 0, seen[i].stack, 1, seen[i].state, seen[i].count, 0);
        spy_timeline_add(t, 0, seen[i].stack, 1, seen[i].state, seen[i].count, i);
    }
    spy_profile_series_at(p, 0)->period_ns = 10000000;
    spy_profile_weigh(p);
    return p;
}

static void speedscope_prints_the_order_of_a_timeline(void **state)
{
    (void)state;
    struct spy_timeline *t = spy_timeline_new(1 << 16);
    struct spy_profile *p = make_ordered(t);
    _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(10000);
    print_speedscope(p, &(struct spy_view){.timeline = t, .title = "app.py"}, &out);
    assert_non_null(strstr(spy_buf_str(&out), "\"name\":\"app.py\""));
    assert_non_null(strstr(spy_buf_str(&out), "\"samples\":[[0],[0,0],[0]],\"weights\":["
                                              "0.500000000,0.300000000,0.200000000],"
                                              "\"endValue\":1.000000000"));
    assert_null(strstr(spy_buf_str(&out), "merged"));
    spy_timeline_free(t);
    spy_profile_free(p);
}

static void speedscope_says_that_merged_samples_have_no_order(void **state)
{
    (void)state;
    struct spy_timeline *t = spy_timeline_new(1 << 16), *full = spy_timeline_new(32);
    struct spy_profile *p = make_ordered(t);
    spy_profile_free(make_ordered(full));
    assert_true(spy_timeline_is_full(full));
    const struct spy_timeline *const none[] = {NULL, full};
    for (size_t i = 0; i < 2; i++) {
        _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(10000);
        print_speedscope(p, &(struct spy_view){.timeline = none[i], .title = "app.py"}, &out);
        assert_non_null(strstr(spy_buf_str(&out),
                               "\"name\":\"app.py (samples are merged: Time Order "
                               "is not their order in time)\""));
        assert_non_null(strstr(spy_buf_str(&out), "(merged: no Time Order)\""));
        assert_non_null(strstr(spy_buf_str(&out), "\"endValue\":1.000000000"));
    }
    spy_timeline_free(t);
    spy_timeline_free(full);
    spy_profile_free(p);
}

RUN(T(an_empty_view_says_why_and_what_to_ask_for), T(over_http_the_hint_names_parameters),
    T(a_filter_that_leaves_nothing_is_the_reason), T(every_format_lists_its_names),
    T(speedscope_prints_the_order_of_a_timeline),
    T(speedscope_says_that_merged_samples_have_no_order))
