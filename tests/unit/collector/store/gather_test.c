// Samples of a series are added up by the store's ids before they are looked up.
#include "collector/store/sqlite/gather.h"
#include "shared/base/err.h"
#include "tests/unit/test.h"

static void equal_samples_become_one(void **state)
{
    (void)state;
    struct spy_gather g = {0};
    for (int64_t i = 0; i < 30000; i++) {
        struct spy_row row = {.stack = 1 + i % 1000, .thread = i % 3, .state = 1, .count = 2};
        row.ns = (uint64_t)i;
        assert_int_equal(spy_gather_add(&g, &row), 0);
    }
    assert_int_equal(g.n, 3000); // 1000 and 3 have no common factor
    uint64_t count = 0, ns = 0;
    for (size_t i = 0; i < g.n; i++) {
        assert_int_equal(g.rows[i].count, 20);
        count += g.rows[i].count;
        ns += g.rows[i].ns;
    }
    assert_int_equal(count, 60000);
    assert_int_equal(ns, 30000ull * 29999 / 2);
    spy_gather_clear(&g);
    assert_int_equal(spy_gather_add(&g, &(struct spy_row){.stack = 1, .count = 5}), 0);
    assert_int_equal(g.n, 1);
    assert_int_equal(g.rows[0].count, 5);
    spy_gather_free(&g);
}

static void sums_saturate_and_states_are_kept_apart(void **state)
{
    (void)state;
    struct spy_gather g = {0};
    struct spy_row row = {.stack = 7, .thread = 8, .state = 1, .count = UINT64_MAX - 1, .ns = 1};
    for (int i = 0; i < 2; i++)
        assert_int_equal(spy_gather_add(&g, &row), 0);
    row.state = 3;
    assert_int_equal(spy_gather_add(&g, &row), 0);
    assert_int_equal(g.n, 2);
    assert_true(g.rows[0].count == UINT64_MAX);
    assert_int_equal(g.rows[0].ns, 2);
    spy_gather_free(&g);
}

static void a_full_table_still_adds_to_what_it_has(void **state)
{
    (void)state;
    struct spy_gather g = {0};
    for (int64_t i = 0; i < SPY_GATHER_ROWS; i++)
        assert_int_equal(spy_gather_add(&g, &(struct spy_row){.stack = i + 1, .count = 1}), 0);
    struct spy_row other = {.stack = SPY_GATHER_ROWS + 1, .count = 1};
    assert_int_equal(spy_gather_add(&g, &other), SPY_ERR_LIMIT);
    assert_int_equal(spy_gather_add(&g, &(struct spy_row){.stack = 5, .count = 1}), 0);
    assert_int_equal(g.n, SPY_GATHER_ROWS);
    assert_int_equal(g.rows[4].count, 2);
    spy_gather_clear(&g);
    assert_int_equal(spy_gather_add(&g, &other), 0);
    spy_gather_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_samples_become_one),
        cmocka_unit_test(sums_saturate_and_states_are_kept_apart),
        cmocka_unit_test(a_full_table_still_adds_to_what_it_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
