// Losses by labels.
#include "agent/upload/losses.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <string.h>

static struct spy_buf labels_of(const char *pid)
{
    struct spy_profile *p = spy_profile_new();
    struct spy_label l[2];
    uint32_t series;
    struct spy_buf b = SPY_BUF_INIT(4096);
    assert_int_equal(spy_profile_cstr(p, SPY_LABEL_PID, &l[0].key), 0);
    assert_int_equal(spy_profile_cstr(p, pid, &l[0].value), 0);
    assert_int_equal(spy_profile_cstr(p, SPY_LABEL_HOST, &l[1].key), 0);
    assert_int_equal(spy_profile_cstr(p, "node-a", &l[1].value), 0);
    assert_int_equal(spy_profile_series(p, l, 2, &series), 0);
    assert_int_equal(spy_losses_pack(p, series, &b), 0);
    spy_profile_free(p);
    return b;
}

static void packed_labels_unpack_to_the_same_series(void **state)
{
    (void)state;
    _cleanup_buf_ struct spy_buf b = labels_of("12");
    struct spy_profile *p = spy_profile_new();
    uint32_t first, second;
    assert_int_equal(spy_losses_unpack(p, b.data, (uint32_t)b.len, &first), 0);
    assert_string_equal(spy_profile_series_label(p, first, SPY_LABEL_PID), "12");
    assert_string_equal(spy_profile_series_label(p, first, SPY_LABEL_HOST), "node-a");
    assert_int_equal(spy_losses_unpack(p, b.data, (uint32_t)b.len, &second), 0);
    assert_int_equal(first, second);
    for (uint32_t cut = 1; cut < b.len; cut++) { // a cut inside of a label is not a label
        uint32_t id;
        int r = spy_losses_unpack(p, b.data, cut, &id);
        assert_true(r == SPY_ERR_INVALID || r == 0);
    }
    assert_int_equal(spy_losses_unpack(p, b.data, (uint32_t)b.len - 1, &first), SPY_ERR_INVALID);
    spy_profile_free(p);
}

static void losses_add_up_by_labels_until_they_are_taken(void **state)
{
    (void)state;
    _cleanup_buf_ struct spy_buf a = labels_of("1"), b = labels_of("2");
    struct spy_losses l = {0};
    assert_int_equal(spy_losses_add(&l, a.data, (uint32_t)a.len, 5), 0);
    assert_int_equal(spy_losses_add(&l, b.data, (uint32_t)b.len, 7), 0);
    assert_int_equal(spy_losses_add(&l, a.data, (uint32_t)a.len, 6), 0);
    assert_int_equal(spy_losses_add(&l, a.data, (uint32_t)a.len, 0), 0);
    assert_int_equal(l.n, 2);
    assert_int_equal(spy_losses_get(&l, a.data, (uint32_t)a.len), 11);
    spy_losses_sub(&l, a.data, (uint32_t)a.len, 4);
    assert_int_equal(spy_losses_get(&l, a.data, (uint32_t)a.len), 7);
    spy_losses_sub(&l, a.data, (uint32_t)a.len, 100);
    assert_int_equal(l.n, 1);
    assert_int_equal(spy_losses_get(&l, b.data, (uint32_t)b.len), 7);
    assert_int_equal(spy_losses_add(&l, b.data, (uint32_t)b.len, UINT64_MAX - 2), 0);
    assert_true(spy_losses_get(&l, b.data, (uint32_t)b.len) == UINT64_MAX);
    spy_losses_free(&l);
}

static void losses_over_the_bound_add_up_in_one_row_of_the_node(void **state)
{
    (void)state;
    struct spy_losses l = {0};
    enum { MORE = 20 };
    uint64_t sum = 0;
    for (int i = 0; i < SPY_LOSSES_MAX + MORE; i++) {
        char pid[16];
        snprintf(pid, sizeof pid, "%d", i);
        _cleanup_buf_ struct spy_buf b = labels_of(pid);
        assert_int_equal(spy_losses_add(&l, b.data, (uint32_t)b.len, 3), 0);
    }
    assert_int_equal(l.n, SPY_LOSSES_MAX + 1);
    for (size_t i = 0; i < l.n; i++)
        sum += l.rows[i].samples;
    assert_int_equal(sum, 3 * (SPY_LOSSES_MAX + MORE));
    struct spy_profile *p = spy_profile_new();
    uint32_t id;
    const struct spy_loss *others = &l.rows[SPY_LOSSES_MAX];
    assert_int_equal(others->samples, 3 * MORE);
    assert_int_equal(spy_losses_unpack(p, others->labels, others->len, &id), 0);
    assert_string_equal(spy_profile_series_label(p, id, SPY_LABEL_HOST), "node-a");
    assert_null(spy_profile_series_label(p, id, SPY_LABEL_PID));
    assert_non_null(spy_profile_series_label(p, id, SPY_LABEL_PROBLEM));
    spy_profile_free(p);
    spy_losses_free(&l);
}

RUN(T(packed_labels_unpack_to_the_same_series), T(losses_add_up_by_labels_until_they_are_taken),
    T(losses_over_the_bound_add_up_in_one_row_of_the_node))
