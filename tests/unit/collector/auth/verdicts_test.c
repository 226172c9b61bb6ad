#include "collector/auth/verdicts.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <string.h>

// Hash number n; all of one set, as an attacker would choose them.
static struct spy_verdict verdict(uint8_t n, enum spy_auth_answer answer, uint64_t until)
{
    struct spy_verdict v = {.answer = answer, .until_ns = until, .why = "because"};
    v.hash[20] = n;
    return v;
}

static enum spy_auth_answer found(struct spy_verdicts *v, uint8_t n, uint64_t now)
{
    struct spy_verdict e = verdict(n, SPY_AUTH_LATER, 0);
    return spy_verdicts_find(v, now, &e) ? e.answer : SPY_AUTH_LATER;
}

static void keep(struct spy_verdicts *v, uint8_t n, enum spy_auth_answer answer, uint64_t now,
                 uint64_t until)
{
    struct spy_verdict e = verdict(n, answer, until);
    spy_verdicts_keep(v, now, &e);
}

static void test_a_verdict_is_cached_until_it_expires(void **state)
{
    (void)state;
    struct spy_verdicts *v = spy_verdicts_new(64);
    assert_int_equal(found(v, 1, 0), SPY_AUTH_LATER);
    keep(v, 1, SPY_AUTH_YES, 0, 100);
    assert_int_equal(found(v, 1, 99), SPY_AUTH_YES);
    assert_int_equal(found(v, 1, 100), SPY_AUTH_LATER);
    assert_int_equal(found(v, 2, 99), SPY_AUTH_LATER);
    keep(v, 1, SPY_AUTH_UNKNOWN, 100, 200);
    assert_int_equal(found(v, 1, 150), SPY_AUTH_UNKNOWN);
    spy_verdicts_free(v);
}

static void test_refused_tokens_do_not_evict_granted_ones(void **state)
{
    (void)state;
    struct spy_verdicts *v = spy_verdicts_new(64);
    keep(v, 0, SPY_AUTH_YES, 0, 100);
    for (int i = 1; i < 250; i++)
        keep(v, (uint8_t)i, SPY_AUTH_UNKNOWN, 1, 90);
    assert_int_equal(found(v, 0, 50), SPY_AUTH_YES);
    spy_verdicts_free(v);
}

static void test_a_granted_token_evicts_refused_but_no_granted_ones(void **state)
{
    (void)state;
    struct spy_verdicts *v = spy_verdicts_new(64);
    for (int i = 1; i <= SPY_VERDICT_WAYS; i++)
        keep(v, (uint8_t)i, SPY_AUTH_FORBIDDEN, 0, 100);
    keep(v, 100, SPY_AUTH_YES, 1, 100);
    assert_int_equal(found(v, 100, 50), SPY_AUTH_YES);
    for (int i = 0; i < SPY_VERDICT_WAYS; i++)
        keep(v, (uint8_t)(101 + i), SPY_AUTH_YES, 1, 100);
    assert_int_equal(found(v, 100, 50), SPY_AUTH_YES);
    assert_int_equal(found(v, 108, 50), SPY_AUTH_LATER); // no place: asked about again, not wrong
    keep(v, 108, SPY_AUTH_YES, 100, 200);                // the others have ended
    assert_int_equal(found(v, 108, 150), SPY_AUTH_YES);
    spy_verdicts_free(v);
}

RUN(T(test_a_verdict_is_cached_until_it_expires), T(test_refused_tokens_do_not_evict_granted_ones),
    T(test_a_granted_token_evicts_refused_but_no_granted_ones))
