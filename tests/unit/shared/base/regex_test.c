#include "shared/base/regex.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "tests/unit/shared/test.h"
#include <string.h>

static void a_good_expression_matches(void **state)
{
    (void)state;
    regex_t re;
    assert_int_equal(spy_regex_compile("^gun(i|y)corn{1,3} .*[({]", REG_NOSUB, &re, NULL), 0);
    assert_int_equal(regexec(&re, "gunicornn app(", 0, NULL, 0), 0);
    assert_int_not_equal(regexec(&re, "GUNICORN app(", 0, NULL, 0), 0);
    regfree(&re);
    assert_int_equal(spy_regex_compile("abc", REG_NOSUB | REG_ICASE, &re, NULL), 0);
    assert_int_equal(regexec(&re, "xABCx", 0, NULL, 0), 0);
    regfree(&re);
}

static void a_wrong_one_says_why(void **state)
{
    (void)state;
    regex_t re;
    struct spy_err e = {0};
    assert_int_equal(spy_regex_compile("a[", 0, &re, &e), SPY_ERR_INVALID);
    assert_int_equal(spy_regex_compile("a(", 0, &re, &e), SPY_ERR_INVALID);
    assert_non_null(strstr(e.msg, "Unmatched ("));
}

static void what_would_take_all_memory_or_time_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {"((x{999}){999}){999}",
                                       "x{32767}",
                                       "(a*)\\1",
                                       "x{99999999999999999999}",
                                       "(x{1,60}){1,60}",
                                       "d++++++++++++++",
                                       "((a{15}){15}){15}",
                                       "((((x?)?)?)?)?",
                                       "x????????+++",
                                       "((((((((((a+)+)+)+)+)+)+)+)+)+)+",
                                       "(((((((((([])]b+)+)+)+)+)+)+)+)+)+)+",
                                       "((((((((([[:alpha:])]b+)+)+)+)+)+)+)+)+)+)+"};
    static char deep[600], longer[1100];
    regex_t re;
    uint64_t start = spy_clock_cpu_ns();
    for (size_t i = 0; i < SPY_COUNT(rows); i++)
        assert_int_equal(spy_regex_compile(rows[i], 0, &re, NULL), SPY_ERR_LIMIT);
    memset(deep, '(', 500);
    assert_int_equal(spy_regex_compile(deep, 0, &re, NULL), SPY_ERR_LIMIT);
    memset(longer, 'a', sizeof longer - 1);
    assert_int_equal(spy_regex_compile(longer, 0, &re, NULL), SPY_ERR_LIMIT);
    assert_true(spy_clock_cpu_ns() - start < SPY_NS_PER_SEC);
}

static void ordinary_ones_are_far_from_the_bounds(void **state)
{
    (void)state;
    static const char *const rows[] = {"a{2}b{3}",
                                       "\\{x\\}",
                                       "",
                                       "a\\\\b",
                                       "[0-9]{1,16}",
                                       "a+b+c+d+e+f+g+h+i+j+k+l+m+n+o+p+",
                                       "[+*(]{3}",
                                       "(a.*?b+)*",
                                       "[]+)+(+]+",
                                       "[^]+(+]+",
                                       "[[:alpha:]+(+]+",
                                       ")+",
                                       "(get|post)_(user|order)s?_[0-9]{1,8} .*/app/"};
    regex_t re;
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        assert_int_equal(spy_regex_compile(rows[i], 0, &re, NULL), 0);
        regfree(&re);
    }
}

RUN(cmocka_unit_test(a_good_expression_matches), cmocka_unit_test(a_wrong_one_says_why),
    cmocka_unit_test(what_would_take_all_memory_or_time_is_refused),
    cmocka_unit_test(ordinary_ones_are_far_from_the_bounds))
