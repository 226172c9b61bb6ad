// Each statement that a store sends, once: for engines on which the other cases take too long.
#include "kit.h"

#define DAY_S UINT64_C(86400)

static void expire_at(struct spy_store *s, uint64_t now_s, uint64_t raw_s)
{
    struct spy_err err = {0};
    if (spy_store_expire(s, now_s * SEC_NS, raw_s * SEC_NS, UINT64_MAX, &err) < 0)
        fail_msg("%s", err.msg);
}

static uint64_t count_answer(struct spy_store *s)
{
    struct spy_select all = kit_everything();
    struct spy_profile *p = kit_query(s, &all);
    uint64_t n = kit_total(p);
    assert_in_range(kit_assert_windows(s, &all, 100000 * DAY_S * SEC_NS, p), 1, 3);
    spy_profile_free(p);
    return n;
}

static struct spy_profile *sampled(uint64_t id, uint64_t start_s)
{
    struct spy_profile *p = kit_window(id, start_s, 10, 1, (const char *[]){"pod", "a"});
    kit_sample(p, "main;work", (uint64_t)1 << id);
    return p;
}

static void windows_are_stored_summed_up_and_dropped(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 10);
    struct spy_profile *p[] = {sampled(0, T0), sampled(1, T0 + 60), sampled(2, T0 + 61)};
    struct spy_err err = {0};
    uint64_t now = 0;
    spy_store_keep(s, &(struct spy_store_levels){7 * DAY_S * SEC_NS, 90 * DAY_S * SEC_NS});
    assert_int_equal(kit_append(s, p, 2), 0);
    assert_int_equal(kit_append(s, p, 2), 2);
    assert_int_equal(count_answer(s), 3);
    expire_at(s, T0 + 2 * DAY_S, 90 * DAY_S); // summed up
    assert_int_equal(count_answer(s), 3);
    expire_at(s, T0 + 2 * DAY_S, 3600); // windows are dropped
    assert_int_equal(kit_append(s, p, 3), 2);
    assert_int_equal(count_answer(s), 7);
    expire_at(s, T0 + 10 * DAY_S, 3600); // minutes are
    assert_int_equal(count_answer(s), 7);
    assert_int_equal(kit_windows(s, NULL), 3);
    struct spy_select some = kit_everything();
    some.terms[some.n++] = (struct spy_select_term){{"pod"}, "a*"};
    struct spy_profile *out = kit_query(s, &some);
    assert_int_equal(kit_total(out), 7);
    assert_int_equal(spy_store_now(s, (T0 + DAY_S) * SEC_NS, SEC_NS, &now, &err), 0);
    assert_int_equal(spy_store_check(s, &err), 0);
    if (spy_store_verify(s, 0, &err) < 0)
        fail_msg("%s", err.msg);
    spy_profile_free(out);
    for (size_t i = 0; i < 3; i++)
        spy_profile_free(p[i]);
    kit_close(s);
    kit_remove(dir);
}

RUN(T(windows_are_stored_summed_up_and_dropped))
