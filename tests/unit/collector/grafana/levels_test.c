#include "collector/grafana/levels.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <stdlib.h>
#include <string.h>

// Adds a stack of functions named by letters, the outermost first.
static void add(struct spy_profile *p, const char *letters, uint32_t state, uint64_t count)
{
    uint32_t stack = 0, series, function, frame;
    assert_int_equal(spy_profile_series(p, NULL, 0, &series), 0);
    for (; *letters; letters++) {
        struct spy_function f = {0};
        assert_int_equal(spy_profile_string(p, letters, 1, &f.name), 0);
        assert_int_equal(spy_profile_function(p, &f, &function), 0);
        assert_int_equal(
            spy_profile_frame(p, (struct spy_frame){function, (uint32_t)count}, &frame), 0);
        assert_int_equal(spy_profile_stack(p, stack, frame, &stack), 0);
    }
    assert_int_equal(spy_profile_add(p, series, stack, 0, state, count, count * 10), 0);
}

static const struct spy_type_asked samples = {.counts = true};
static const bool all[] = {true};

static void expect_level(const Spy__Querier__FlameGraph *g, size_t level, const int64_t *values,
                         size_t n)
{
    assert_int_equal(g->levels[level]->n_values, n);
    for (size_t i = 0; i < n; i++)
        if (g->levels[level]->values[i] != values[i])
            fail_msg("level %zu has %lld at %zu", level, (long long)g->levels[level]->values[i], i);
}

static void test_bars_stand_below_their_parents(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    _cleanup_arena_ struct spy_arena arena = SPY_ARENA_INIT(1 << 20);
    Spy__Querier__FlameGraph g = SPY__QUERIER__FLAME_GRAPH__INIT;
    add(p, "cb", 0, 5);
    add(p, "a", 0, 2);
    add(p, "ab", 0, 1); // another line of b
    add(p, "cbd", 0, 4);
    assert_int_equal(spy_levels_make(p, all, &samples, 100, &arena, NULL, &g, NULL), 0);
    assert_int_equal(g.n_levels, 4);
    assert_int_equal(g.total, 12);
    assert_int_equal(g.max_self, 5);
    assert_string_equal(g.names[0], "total");
    expect_level(&g, 0, (int64_t[]){0, 12, 0, 0}, 4);
    expect_level(&g, 1, (int64_t[]){0, 3, 2, 1, 0, 9, 0, 2}, 8);
    expect_level(&g, 2, (int64_t[]){0, 1, 1, 3, 2, 9, 5, 3}, 8);
    expect_level(&g, 3, (int64_t[]){3, 4, 4, 4}, 4);
    assert_string_equal(g.names[4], "d");
}

static void test_only_what_counts_is_there(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    _cleanup_arena_ struct spy_arena arena = SPY_ARENA_INIT(1 << 20);
    Spy__Querier__FlameGraph g = SPY__QUERIER__FLAME_GRAPH__INIT;
    const struct spy_type_asked cpu = {.states = SPY_STATE_RUNNING};
    const bool none[] = {false};
    add(p, "ab", SPY_STATE_RUNNING, 3);
    add(p, "cd", 0, 4);
    assert_int_equal(spy_levels_make(p, none, &cpu, 100, &arena, NULL, &g, NULL), 0);
    assert_int_equal(g.n_levels, 0);
    assert_int_equal(spy_levels_make(p, all, &cpu, 100, &arena, NULL, &g, NULL), 0);
    assert_int_equal(g.n_levels, 3);
    assert_int_equal(g.total, 30);
    assert_int_equal(g.n_names, 3);
}

static void test_weights_beyond_the_largest_number_stay_in_order(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    _cleanup_arena_ struct spy_arena arena = SPY_ARENA_INIT(1 << 20);
    Spy__Querier__FlameGraph g = SPY__QUERIER__FLAME_GRAPH__INIT;
    add(p, "a", 0, UINT64_MAX - 1);
    add(p, "b", 0, UINT64_MAX - 1);
    assert_int_equal(spy_levels_make(p, all, &samples, 100, &arena, NULL, &g, NULL), 0);
    assert_true(g.total == INT64_MAX && g.max_self == INT64_MAX);
    for (size_t i = 0; i < g.levels[1]->n_values; i++)
        assert_true(g.levels[1]->values[i] >= 0);
}

static void test_memory_is_bounded(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    struct spy_err err = {0};
    add(p, "abcdefgh", 0, 1);
    for (size_t max = 0, r = 1; r; max += 64) {
        _cleanup_arena_ struct spy_arena arena = SPY_ARENA_INIT(max);
        Spy__Querier__FlameGraph g = SPY__QUERIER__FLAME_GRAPH__INIT;
        int code = spy_levels_make(p, all, &samples, 3, &arena, NULL, &g, &err);
        assert_true(code == 0 || code == SPY_ERR_LIMIT);
        r = code != 0;
        assert_true(max < 1 << 16);
    }
    bool stop = true;
    _cleanup_arena_ struct spy_arena arena = SPY_ARENA_INIT(1 << 20);
    Spy__Querier__FlameGraph g = SPY__QUERIER__FLAME_GRAPH__INIT;
    assert_int_equal(spy_levels_make(p, all, &samples, 3, &arena, &stop, &g, &err), SPY_ERR_GONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bars_stand_below_their_parents),
        cmocka_unit_test(test_only_what_counts_is_there),
        cmocka_unit_test(test_weights_beyond_the_largest_number_stay_in_order),
        cmocka_unit_test(test_memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
