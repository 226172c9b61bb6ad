#include "shared/formats/compare.h"
#include "tests/unit/test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void z_is_the_difference_in_standard_errors(void **state)
{
    (void)state;
    const struct spy_sides n = {1000, 2000};
    // By hand: pooled 800/3000, error sqrt(p (1-p) (1/1000 + 1/2000)), difference 0.3 - 0.2.
    double z = spy_compare_z((struct spy_sides){200, 600}, n);
    assert_true(fabs(z - 5.8387) < 0.001);
    assert_true(fabs(spy_compare_z((struct spy_sides){600, 200}, (struct spy_sides){2000, 1000}) +
                     5.8387) < 0.001);
    assert_true(spy_compare_z((struct spy_sides){100, 200}, n) == 0);
}

static void too_few_samples_say_nothing(void **state)
{
    (void)state;
    assert_true(spy_compare_z((struct spy_sides){0, 9}, (struct spy_sides){1000, 1000}) == 0);
    assert_true(spy_compare_z((struct spy_sides){0, 11}, (struct spy_sides){1000, 1000}) > 3);
    assert_true(spy_compare_z((struct spy_sides){1000, 991}, (struct spy_sides){1000, 1000}) == 0);
    assert_true(spy_compare_z((struct spy_sides){0, 50}, (struct spy_sides){0, 100}) == 0);
    assert_true(spy_compare_z((struct spy_sides){UINT64_MAX, 0},
                              (struct spy_sides){UINT64_MAX, UINT64_MAX}) < 0);
}

static void the_cutoff_grows_with_what_is_compared(void **state)
{
    (void)state;
    double one[1] = {-2.6}, many[1000] = {2.6}, some[1000] = {0}, none[3] = {0};
    assert_true(spy_compare_cutoff(one, 1) == 2.6);
    assert_true(isinf(spy_compare_cutoff(many, 1000)));
    for (int i = 0; i < 400; i++)
        some[i] = i % 2 ? 3 : -3; // 0.0027 <= 0.01 * 400 / 1000
    some[400] = 2.5;              // 0.0124 > 0.01 * 401 / 1000
    assert_true(spy_compare_cutoff(some, 1000) == 3);
    assert_true(isinf(spy_compare_cutoff(none, 3)));
    assert_true(isinf(spy_compare_cutoff(none, 0)));
}

// Two sides of 1000 and 400 samples, with 50 functions that only one side has.
static struct spy_profile *make_compared(void)
{
    struct spy_profile *sides[2], *both = spy_profile_new();
    uint32_t series, name, function, frame, stack, thread;
    char text[32];
    assert_int_equal(spy_profile_series(both, NULL, 0, &series), 0);
    for (int side = 0; side < 2; side++) {
        struct spy_profile *p = sides[side] = spy_profile_new();
        spy_profile_series(p, NULL, 0, &series);
        for (int i = 0; i < 100; i++) {
            snprintf(text, sizeof text, "f%d", i + 50 * side);
            spy_profile_cstr(p, text, &name);
            spy_profile_function(p, &(struct spy_function){.name = name}, &function);
            spy_profile_frame(p, (struct spy_frame){function, 7}, &frame);
            spy_profile_stack(p, 0, frame, &stack);
            spy_profile_thread(p, 1, name, &thread);
            spy_profile_add(p, 0, stack, thread, SPY_STATE_RUNNING, side ? 4 : 10, 99);
        }
        assert_int_equal(spy_profile_merge(both, p, 0, side), 0);
        spy_profile_free(sides[side]);
    }
    return both;
}

static void both_sides_are_whole_however_much_is_folded(void **state)
{
    (void)state;
    struct spy_profile *p = make_compared();
    for (uint32_t max = 10; max <= 1000; max *= 10) {
        struct spy_view v = {.compares = true, .processes = SPY_PROCESSES_NO, .max_nodes = max};
        struct spy_compared what = {"a", "b"};
        _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(1 << 20);
        assert_int_equal(spy_compare_json(p, &v, &what, 5, &out, NULL), 0);
        const char *text = spy_buf_str(&out);
        assert_non_null(strstr(text, "\"samples\":[1000,400]"));
        assert_non_null(strstr(text, "\"functions_in_all\":150,"));
        uint64_t sums[2] = {0};
        const char *columns[2] = {"\"self\":[", "\"compared\":["};
        const char *at = strstr(text, "\"nodes\":");
        for (int k = 0; k < 2; k++) {
            char *end = (char *)(uintptr_t)strstr(at, columns[k]) + strlen(columns[k]) - 1;
            do
                sums[k] += strtoull(end + 1, &end, 10);
            while (*end == ',');
        }
        assert_int_equal(sums[0], 1000);
        assert_int_equal(sums[1], 400);
    }
    spy_profile_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(z_is_the_difference_in_standard_errors),
        cmocka_unit_test(too_few_samples_say_nothing),
        cmocka_unit_test(the_cutoff_grows_with_what_is_compared),
        cmocka_unit_test(both_sides_are_whole_however_much_is_folded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
