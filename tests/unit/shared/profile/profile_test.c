#include "shared/base/mem.h"
#include "shared/profile/profile.h"
#include "tests/data/merge.h"
#include "tests/data/synthetic.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t str(struct spy_profile *p, const char *s)
{
    uint32_t id = 99999;
    assert_int_equal(spy_profile_cstr(p, s, &id), 0);
    return id;
}

static uint32_t stack_of(struct spy_profile *p, uint32_t parent, const char *name, uint32_t line)
{
    uint32_t fn, frame, stack;
    struct spy_function f = {str(p, name), str(p, "f.py"), 1, SPY_FRAME_PYTHON};
    assert_int_equal(spy_profile_function(p, &f, &fn), 0);
    assert_int_equal(spy_profile_frame(p, (struct spy_frame){fn, line}, &frame), 0);
    assert_int_equal(spy_profile_stack(p, parent, frame, &stack), 0);
    return stack;
}

static uint32_t series_of(struct spy_profile *p, const char *pid)
{
    uint32_t id;
    struct spy_label l = {str(p, SPY_LABEL_PID), str(p, pid)};
    assert_int_equal(spy_profile_series(p, &l, 1, &id), 0);
    return id;
}

static void a_new_profile_has_the_zero_entries(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    assert_int_equal(spy_profile_n_strings(p), 1);
    assert_string_equal(spy_profile_text(p, 0), "");
    assert_int_equal(spy_profile_n_stacks(p), 1);
    assert_int_equal(spy_profile_n_threads(p), 1);
    assert_int_equal(spy_profile_thread_at(p, 0)->tid, 0);
    assert_int_equal(spy_profile_n_samples(p) + spy_profile_n_series(p), 0);
    assert_int_equal(str(p, ""), 0);
}

static void the_same_entry_has_the_same_id(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    uint32_t a = str(p, "a"), b = str(p, "b");
    assert_int_not_equal(a, b);
    assert_int_equal(str(p, "a"), a);
    uint32_t s = stack_of(p, 0, "f", 1), t = stack_of(p, s, "g", 2);
    assert_int_equal(stack_of(p, 0, "f", 1), s);
    assert_int_equal(stack_of(p, s, "g", 2), t);
    assert_int_not_equal(stack_of(p, 0, "f", 3), s);
    assert_int_not_equal(stack_of(p, t, "g", 2), t); // recursion
    assert_true(spy_profile_stack_at(p, t)->parent < t);
    uint32_t x, y;
    assert_int_equal(spy_profile_thread(p, 7, a, &x), 0);
    assert_int_equal(spy_profile_thread(p, 7, b, &y), 0);
    assert_int_not_equal(x, y);
    assert_int_equal(spy_profile_thread(p, 7, a, &y), 0);
    assert_int_equal(x, y);
}

static void the_first_frame_under_the_root_is_not_the_root(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    assert_int_not_equal(stack_of(p, 0, "", 0), 0);
}

static void ids_stay_right_over_many_entries(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    enum { N = 20000 };
    static uint32_t ids[N];
    char text[20];
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof text, "name %d", i);
        ids[i] = stack_of(p, i ? ids[i / 2] : 0, text, (uint32_t)i);
    }
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof text, "name %d", i);
        assert_int_equal(stack_of(p, i ? ids[i / 2] : 0, text, (uint32_t)i), ids[i]);
    }
    assert_int_equal(spy_profile_n_frames(p), N);
}

static void text_is_repaired(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    uint32_t id;
    assert_int_equal(spy_profile_string(p, "a\0b\xffz", 5, &id), 0);
    assert_string_equal(spy_profile_text(p, id), "a\xef\xbf\xbd"
                                                 "b\xef\xbf\xbdz");
    assert_int_equal(spy_profile_text_len(p, id), 9);
    assert_int_equal(str(p, "a\xef\xbf\xbd"
                            "b\xef\xbf\xbdz"),
                     id);
    assert_int_equal(spy_profile_string(p, "\xed\xa0\x80", 3, &id), 0); // a lone surrogate
    assert_int_equal(spy_profile_text_len(p, id), 9);
}

static void ids_that_do_not_exist_are_refused(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    uint32_t id = 1234, series = series_of(p, "1"), stack = stack_of(p, 0, "f", 1);
    struct spy_function f = {99, 0, 0, 0};
    struct spy_label l = {0, 99};
    assert_int_equal(spy_profile_function(p, &f, &id), SPY_ERR_INVALID);
    f = (struct spy_function){0, 0, 0, SPY_FRAME_MARKER + 1};
    assert_int_equal(spy_profile_function(p, &f, &id), SPY_ERR_INVALID);
    assert_int_equal(spy_profile_frame(p, (struct spy_frame){9, 0}, &id), SPY_ERR_INVALID);
    assert_int_equal(spy_profile_stack(p, 9, 0, &id), SPY_ERR_INVALID);
    assert_int_equal(spy_profile_stack(p, 0, 9, &id), SPY_ERR_INVALID);
    assert_int_equal(spy_profile_thread(p, 1, 99, &id), SPY_ERR_INVALID);
    assert_int_equal(spy_profile_series(p, &l, 1, &id), SPY_ERR_INVALID);
    assert_int_equal(id, 1234); // untouched
    assert_int_equal(spy_profile_add(p, series, stack, 9, 0, 1, 0), SPY_ERR_INVALID);
    assert_int_equal(spy_profile_add(p, series, 9, 0, 0, 1, 0), SPY_ERR_INVALID);
    assert_int_equal(spy_profile_add(p, 9, stack, 0, 0, 1, 0), SPY_ERR_INVALID);
    assert_int_equal(spy_profile_add(p, series, stack, 0, SPY_STATE_ALL + 1, 1, 0),
                     SPY_ERR_INVALID);
    assert_int_equal(spy_profile_n_samples(p), 0);
}

static void series_are_the_same_in_any_order_of_labels(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    struct spy_label ab[] = {{str(p, "a"), str(p, "1")}, {str(p, "b"), str(p, "2")}};
    struct spy_label ba[] = {ab[1], ab[0]}, twice[] = {ab[0], {ab[0].key, ab[1].value}};
    uint32_t x, y;
    assert_int_equal(spy_profile_series(p, ab, 2, &x), 0);
    assert_int_equal(spy_profile_series(p, ba, 2, &y), 0);
    assert_int_equal(x, y);
    assert_string_equal(spy_profile_series_label(p, x, "b"), "2");
    assert_null(spy_profile_series_label(p, x, "c"));
    assert_int_equal(spy_profile_series(p, twice, 2, &y), SPY_ERR_INVALID);
    assert_int_equal(spy_profile_series(p, ab, 0, &y), 0); // no labels is a series too
    assert_int_not_equal(x, y);
}

static void series_have_a_bound_of_labels(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    struct spy_label many[SPY_LABELS_MAX + 1];
    char key[10];
    uint32_t id;
    for (size_t i = 0; i < SPY_COUNT(many); i++) {
        snprintf(key, sizeof key, "k%zu", i);
        many[i] = (struct spy_label){str(p, key), 0};
    }
    assert_int_equal(spy_profile_series(p, many, SPY_LABELS_MAX, &id), 0);
    assert_int_equal(spy_profile_series(p, many, SPY_LABELS_MAX + 1, &id), SPY_ERR_LIMIT);
}

static void caps_hold_and_known_entries_can_still_be_added(void **state)
{
    (void)state;
    struct spy_profile_caps caps = {.strings = 4,
                                    .functions = 1,
                                    .frames = 2,
                                    .stacks = 3,
                                    .threads = 2,
                                    .series = 1,
                                    .samples = 1,
                                    .string_bytes = 40};
    _cleanup_profile_ struct spy_profile *p = spy_profile_new_capped(&caps);
    uint32_t id = 77, name = str(p, "f"), file = str(p, "f.py"), other = str(p, "g"), a, b;
    assert_int_equal(spy_profile_cstr(p, "one more", &id), SPY_ERR_LIMIT);
    assert_int_equal(id, 77);
    assert_int_equal(str(p, "f"), name);
    struct spy_function f = {name, file, 1, 0}, g = {other, file, 1, 0};
    assert_int_equal(spy_profile_function(p, &f, &id), 0);
    assert_int_equal(spy_profile_function(p, &g, &id), SPY_ERR_LIMIT);
    assert_int_equal(spy_profile_frame(p, (struct spy_frame){0, 1}, &a), 0);
    assert_int_equal(spy_profile_frame(p, (struct spy_frame){0, 2}, &b), 0);
    assert_int_equal(spy_profile_frame(p, (struct spy_frame){0, 3}, &id), SPY_ERR_LIMIT);
    assert_int_equal(spy_profile_stack(p, 0, a, &id), 0);
    assert_int_equal(spy_profile_stack(p, id, b, &id), 0);
    assert_int_equal(spy_profile_stack(p, id, b, &b), SPY_ERR_LIMIT);
    assert_int_equal(spy_profile_thread(p, 1, 0, &b), 0);
    assert_int_equal(spy_profile_thread(p, 2, 0, &b), SPY_ERR_LIMIT);
    assert_int_equal(spy_profile_series(p, NULL, 0, &b), 0);
    struct spy_label l = {name, name};
    assert_int_equal(spy_profile_series(p, &l, 1, &b), SPY_ERR_LIMIT);
    assert_int_equal(spy_profile_add(p, 0, 1, 0, 0, 1, 0), 0);
    assert_int_equal(spy_profile_add(p, 0, 2, 0, 0, 1, 0), SPY_ERR_LIMIT);
    assert_int_equal(spy_profile_add(p, 0, 1, 0, 0, 1, 0), 0);
    assert_int_equal(spy_profile_sample_at(p, 0)->count, 2);
}

static void string_bytes_are_capped(void **state)
{
    (void)state;
    struct spy_profile_caps caps = {.string_bytes = 10};
    _cleanup_profile_ struct spy_profile *p = spy_profile_new_capped(&caps);
    uint32_t id;
    assert_int_equal(spy_profile_cstr(p, "12345678", &id), 0);
    assert_int_equal(spy_profile_cstr(p, "x", &id), SPY_ERR_LIMIT);
    assert_int_equal(spy_profile_cstr(p, "12345678", &id), 0);
}

static void samples_add_up_by_key_and_saturate(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    uint32_t series = series_of(p, "1"), stack = stack_of(p, 0, "f", 1);
    assert_int_equal(spy_profile_add(p, series, stack, 0, 1, 2, 20), 0);
    assert_int_equal(spy_profile_add(p, series, stack, 0, 1, 3, 30), 0);
    assert_int_equal(spy_profile_add(p, series, stack, 0, 3, 1, 1), 0);
    assert_int_equal(spy_profile_n_samples(p), 2);
    assert_int_equal(spy_profile_sample_at(p, 0)->count, 5);
    assert_int_equal(spy_profile_sample_at(p, 0)->ns, 50);
    assert_int_equal(spy_profile_add(p, series, stack, 0, 1, UINT64_MAX, UINT64_MAX), 0);
    assert_true(spy_profile_sample_at(p, 0)->count == UINT64_MAX);
    assert_true(spy_profile_sample_at(p, 0)->ns == UINT64_MAX);
}

static void no_sample_is_running_and_runnable_at_once(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    uint32_t series = series_of(p, "1"), stack = stack_of(p, 0, "f", 1);
    const uint32_t ready = SPY_STATE_RUNNABLE | SPY_STATE_GIL_HOLDS;
    assert_int_equal(spy_profile_add(p, series, stack, 0, ready, 1, 1), 0);
    assert_int_equal(spy_state_activity(spy_profile_sample_at(p, 0)->state), SPY_RUNNABLE);
    assert_int_equal(spy_profile_add(p, series, stack, 0, ready | SPY_STATE_RUNNING, 1, 1),
                     SPY_ERR_INVALID);
    assert_int_equal(spy_profile_add(p, series, stack, 0, SPY_STATE_ALL + 1, 1, 1),
                     SPY_ERR_INVALID);
    assert_int_equal(spy_profile_n_samples(p), 1);
}

static void weigh_gives_each_sample_its_time(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    uint32_t a = series_of(p, "1"), b = series_of(p, "2"), stack = stack_of(p, 0, "f", 1);
    spy_profile_series_at(p, a)->period_ns = 1000;
    spy_profile_series_at(p, b)->period_ns = UINT64_MAX / 2;
    spy_profile_add(p, a, stack, 0, 1, 7, 5);
    spy_profile_add(p, b, stack, 0, 1, 3, 0);
    spy_profile_weigh(p);
    assert_int_equal(spy_profile_sample_at(p, 0)->ns, 7000);
    assert_true(spy_profile_sample_at(p, 1)->ns == UINT64_MAX);
}

static void reset_forgets_the_window_and_keeps_ids_and_memory(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = test_profile_rich();
    uint32_t strings = spy_profile_n_strings(p), stacks = spy_profile_n_stacks(p);
    size_t memory = spy_profile_memory(p);
    spy_profile_reset_window(p);
    assert_int_equal(spy_profile_n_samples(p), 0);
    assert_int_equal(spy_profile_n_strings(p), strings);
    assert_int_equal(spy_profile_n_stacks(p), stacks);
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++) {
        const struct spy_series *s = spy_profile_series_get(p, i);
        assert_int_equal(s->n_labels, 4);
        assert_true(!s->start_ns && !s->duration_ns && !s->period_ns && !s->quality.clean);
        assert_int_equal(s->profile_id[0], 0);
    }
    assert_string_equal(spy_profile_series_label(p, 1, SPY_LABEL_PID), "102");
    assert_int_equal(spy_profile_add(p, 0, 1, 0, 0, 4, 0), 0);
    assert_int_equal(spy_profile_sample_at(p, 0)->count, 4); // nothing of the last window
    assert_int_equal(spy_profile_memory(p), memory);
}

static void merge_into_nothing_is_a_copy(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        _cleanup_profile_ struct spy_profile *src = test_profile_random(seed, 60);
        _cleanup_profile_ struct spy_profile *dst = spy_profile_new();
        assert_int_equal(merge_profiles(dst, src), 0);
        _cleanup_free_ char *a = test_profile_spelled(src), *b = test_profile_spelled(dst);
        assert_string_equal(a, b);
        for (uint32_t i = 0; i < spy_profile_n_series(src); i++) {
            const struct spy_series *x = spy_profile_series_get(src, i);
            const struct spy_series *y = spy_profile_series_get(dst, i);
            assert_memory_equal(x->profile_id, y->profile_id, 16);
            assert_memory_equal(&x->quality, &y->quality, sizeof x->quality);
            assert_true(x->start_ns == y->start_ns && x->duration_ns == y->duration_ns &&
                        x->period_ns == y->period_ns);
        }
    }
}

static void merge_does_not_care_for_order(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *x = spy_profile_new(), *y = spy_profile_new();
    for (uint64_t seed = 0; seed < 10; seed++) {
        _cleanup_profile_ struct spy_profile *a = test_profile_random(seed, 40);
        _cleanup_profile_ struct spy_profile *b = test_profile_random(9 - seed, 40);
        assert_int_equal(merge_profiles(x, a), 0);
        assert_int_equal(merge_profiles(y, b), 0);
    }
    _cleanup_free_ char *a = test_profile_spelled(x), *b = test_profile_spelled(y);
    assert_string_equal(a, b);
}

static void merge_unites_windows_and_sums_quality(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *a = spy_profile_new(), *b = spy_profile_new();
    uint32_t x = series_of(a, "1");
    str(b, "ids differ between the two");
    uint32_t y = series_of(b, "1");
    *spy_profile_series_at(a, x) = (struct spy_series){.n_labels = 1,
                                                       .start_ns = 100,
                                                       .duration_ns = 10,
                                                       .period_ns = 4,
                                                       .quality = {1, 2, 3, 4, 5, UINT64_MAX},
                                                       .profile_id = {1}};
    *spy_profile_series_at(b, y) = (struct spy_series){.n_labels = 1,
                                                       .start_ns = 130,
                                                       .duration_ns = 30,
                                                       .period_ns = 8,
                                                       .quality = {1, 1, 1, 1, 1, 1},
                                                       .profile_id = {2}};
    assert_int_equal(merge_profiles(a, b), 0);
    const struct spy_series *s = spy_profile_series_get(a, x);
    assert_int_equal(s->start_ns, 100);
    assert_int_equal(s->duration_ns, 60);
    assert_int_equal(s->period_ns, 6); // 40 ns, and 6.25 rounds
    assert_int_equal(s->quality.clean, 2);
    assert_int_equal(s->quality.lost, 6);
    assert_true(s->quality.late == UINT64_MAX);
    assert_int_equal(s->profile_id[0], 0); // two windows have no single id
    assert_int_equal(merge_profiles(a, a), SPY_ERR_INVALID);
}

// One round in a second, and a thousand in the next, are two seconds in a thousand and one rounds.
static void the_period_of_joined_windows_is_their_time_over_their_rounds(void **state)
{
    (void)state;
    enum { ROUNDS = 1000 };
    const uint64_t second = 1000000000;
    struct spy_series slow = {.start_ns = 1, .duration_ns = second, .period_ns = second};
    struct spy_series quick = {
        .start_ns = 1 + second, .duration_ns = second, .period_ns = second / ROUNDS};
    struct spy_series joined = slow, other = quick;
    spy_series_unite(&joined, &quick);
    spy_series_unite(&other, &slow);
    assert_int_equal(joined.period_ns, 2 * second / (ROUNDS + 1));
    assert_int_equal(other.period_ns, joined.period_ns);
    assert_int_equal(joined.duration_ns, 2 * second);
}

static void merge_of_windows_at_the_end_of_time_does_not_wrap(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *a = spy_profile_new(), *b = spy_profile_new();
    uint32_t x = series_of(a, "1"), y = series_of(b, "1");
    struct spy_series *s = spy_profile_series_at(a, x), *t = spy_profile_series_at(b, y);
    s->start_ns = 5, s->duration_ns = 1, s->period_ns = UINT64_MAX;
    t->start_ns = UINT64_MAX - 1, t->duration_ns = UINT64_MAX, t->period_ns = UINT64_MAX;
    assert_int_equal(merge_profiles(a, b), 0);
    s = spy_profile_series_at(a, x);
    assert_true(s->start_ns == 5 && s->duration_ns == UINT64_MAX - 5);
    assert_true(s->period_ns == UINT64_MAX);
}

static void merge_over_the_caps_is_reported(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *src = test_profile_rich();
    struct spy_profile_caps caps = {.samples = 3};
    _cleanup_profile_ struct spy_profile *dst = spy_profile_new_capped(&caps);
    assert_int_equal(merge_profiles(dst, src), SPY_ERR_LIMIT);
}

static void adding_known_entries_takes_no_memory(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    _cleanup_profile_ struct spy_profile *src = test_profile_random(3, 200);
    assert_int_equal(merge_profiles(p, src), 0);
    size_t before = spy_profile_memory(p);
    for (int i = 0; i < 20; i++)
        assert_int_equal(merge_profiles(p, src), 0);
    assert_int_equal(spy_profile_memory(p), before);
}

static void free_of_null_does_nothing(void **state)
{
    (void)state;
    spy_profile_free(NULL);
}

RUN(T(a_new_profile_has_the_zero_entries), T(the_same_entry_has_the_same_id),
    T(the_first_frame_under_the_root_is_not_the_root), T(ids_stay_right_over_many_entries),
    T(text_is_repaired), T(ids_that_do_not_exist_are_refused),
    T(series_are_the_same_in_any_order_of_labels), T(series_have_a_bound_of_labels),
    T(caps_hold_and_known_entries_can_still_be_added), T(string_bytes_are_capped),
    T(samples_add_up_by_key_and_saturate), T(no_sample_is_running_and_runnable_at_once),
    T(weigh_gives_each_sample_its_time), T(reset_forgets_the_window_and_keeps_ids_and_memory),
    T(merge_into_nothing_is_a_copy), T(merge_does_not_care_for_order),
    T(merge_unites_windows_and_sums_quality),
    T(the_period_of_joined_windows_is_their_time_over_their_rounds),
    T(merge_of_windows_at_the_end_of_time_does_not_wrap), T(merge_over_the_caps_is_reported),
    T(adding_known_entries_takes_no_memory), T(free_of_null_does_nothing))
