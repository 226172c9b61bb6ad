#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/base/regex.h"
#include "tests/unit/test.h"
#include <string.h>

static int search(const char *pattern, const char *text)
{
    struct spy_regex *re;
    assert_int_equal(spy_regex_new(pattern, &re, NULL), 0);
    int r = spy_regex_search(re, text, strlen(text));
    spy_regex_free(re);
    return r;
}

static void a_good_expression_matches(void **state)
{
    (void)state;
    assert_int_equal(search("^gun(i|y)corn{1,3} .*[({]", "gunicornn app("), 1);
    assert_int_equal(search("^gun(i|y)corn{1,3} .*[({]", "GUNICORN app("), 0);
    assert_int_equal(search("(?i)abc", "xABCx"), 1);
    assert_int_equal(search("", ""), 1);
    assert_int_equal(search("^[[:alpha:]_]+[0-9]*$", "made_12"), 1);
    assert_int_equal(search("a.b$", "a\nb"), 1);
    assert_int_equal(search("a$", "a\n"), 0);
}

static void invalid_utf8_does_no_harm(void **state)
{
    (void)state;
    assert_int_equal(search("a.b", "a\xff"
                                   "b"),
                     0);
    assert_int_equal(search("b", "a\xff\xfe"
                                 "b"),
                     1);
    assert_int_equal(search("^.\xc3\xa9$", "n\xc3\xa9"), 1);
}

static void a_bad_expression_names_its_fault_and_place(void **state)
{
    (void)state;
    struct spy_regex *re;
    struct spy_err e = {0};
    assert_int_equal(spy_regex_new("a[", &re, &e), SPY_ERR_INVALID);
    assert_int_equal(spy_regex_new("(a)\\2(", &re, &e), SPY_ERR_INVALID);
    assert_int_equal(spy_regex_new("a\xff", &re, &e), SPY_ERR_INVALID);
    assert_int_equal(spy_regex_new("ab(", &re, &e), SPY_ERR_INVALID);
    assert_non_null(strstr(e.msg, "parenthesis, at byte 3"));
}

static void an_expression_over_a_bound_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {"((x{999}){999}){999}", "((((x{99}){99}){99}){99}){99}"};
    static char deep[600], longer[1100];
    struct spy_regex *re;
    for (size_t i = 0; i < SPY_COUNT(rows); i++)
        assert_int_equal(spy_regex_new(rows[i], &re, NULL), SPY_ERR_LIMIT);
    memset(deep, '(', 500);
    assert_int_equal(spy_regex_new(deep, &re, NULL), SPY_ERR_LIMIT);
    memset(longer, 'a', sizeof longer - 1);
    assert_int_equal(spy_regex_new(longer, &re, NULL), SPY_ERR_LIMIT);
}

// CPU time of all searches: the first row took glibc's matcher seconds in a few names.
static void a_search_ends_in_bounded_time(void **state)
{
    (void)state;
    static const char *const rows[] = {".*[a-z/_].{450}~",
                                       "(.*a){20}b",
                                       "(a*)*b",
                                       "(x+x+)+y",
                                       "(((((((((a+)+)+)+)+)+)+)+)+)+b",
                                       ".*.*.*.*.*.*~",
                                       "(.*[a-z_]){200}~",
                                       "(a|a)*c",
                                       "(?:a?){500}a{500}b",
                                       "(?R)?a"};
    static char text[8001];
    memset(text, 'a', sizeof text - 1);
    uint64_t start = spy_clock_cpu_ns();
    int ended_early = 0;
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        int r = search(rows[i], text);
        assert_true(r == 0 || r == 1 || r == SPY_ERR_LIMIT);
        ended_early += r == SPY_ERR_LIMIT;
    }
    assert_true(ended_early >= 3);
    assert_true(spy_clock_cpu_ns() - start < SPY_NS_PER_SEC);
}

RUN(T(a_good_expression_matches), T(invalid_utf8_does_no_harm),
    T(a_bad_expression_names_its_fault_and_place), T(an_expression_over_a_bound_is_refused),
    T(a_search_ends_in_bounded_time))
