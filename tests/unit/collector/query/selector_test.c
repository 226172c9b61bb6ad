#include "collector/query/selector.h"
#include "shared/base/clock.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <string.h>

#define NOW (1700000000 * SPY_NS_PER_SEC) // 2023-11-14T22:13:20Z

static void test_times_are_parsed_in_every_form(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double seconds; // negative: refused
    } rows[] = {
        {"2023-11-14T22:13:20Z", 1700000000},
        {"2023-11-14T22:13:20.25Z", 1700000000.25},
        {"2023-11-15T00:13:20+02:00", 1700000000},
        {"2023-11-15T00:13:20 02:00", 1700000000}, // '+' that nobody encoded
        {"2023-11-14T20:43:20-01:30", 1700000000},
        {"1700000000", 1700000000},
        {"1700000000.5", 1700000000.5},
        {"0", 0},
        {"now", 1700000000},
        {"-90s", 1700000000 - 90},
        {"-15m", 1700000000 - 900},
        {"-2h", 1700000000 - 7200},
        {"-1d", 1700000000 - 86400},
        {"-999999999d", 0},
        {"", -1},
        {"yesterday", -1},
        {"-", -1},
        {"-m", -1},
        {"-15", -1},
        {"-15x", -1},
        {"-15mm", -1},
        {"--15m", -1},
        {"1.2.3", -1},
        {"1e9", -1},
        {"99999999999", -1},
        {"2023-11-14", -1},
        {"2023-11-14T22:13:20", -1},
        {"2023-13-14T22:13:20Z", -1},
        {"2023-11-14T22:13:20Zx", -1},
        {"2023-11-14T22:13:20+2:00", -1},
        {"2023-11-14T22:13:20+02:00x", -1},
        {"1960-01-01T00:00:00Z", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t ns = 7;
        int r = spy_time_parse(rows[i].text, NOW, &ns);
        if (r != (rows[i].seconds < 0 ? SPY_ERR_INVALID : 0))
            fail_msg("'%s' gave %d", rows[i].text, r);
        double off = r == 0 ? (double)ns - rows[i].seconds * 1e9 : 0; // a double has 53 bits
        if (off > 1000 || off < -1000)
            fail_msg("'%s' gave %llu", rows[i].text, (unsigned long long)ns);
        if (r < 0)
            assert_int_equal(ns, 7);
    }
}

static int parse(const struct spy_param *params, size_t n, struct spy_selector *s, char *hint,
                 struct spy_err *err)
{
    *err = (struct spy_err){0};
    *hint = 0;
    return spy_selector_parse(params, n, SPY_TAKES_FORMAT, NOW, s, hint, err);
}

static void test_without_parameters_the_last_hour_is_selected(void **state)
{
    (void)state;
    struct spy_selector s;
    struct spy_err err;
    char hint[SPY_HINT_MAX];
    assert_int_equal(parse(NULL, 0, &s, hint, &err), 0);
    assert_int_equal(s.select.until_ns, NOW);
    assert_int_equal(s.select.from_ns, NOW - 3600 * SPY_NS_PER_SEC);
    assert_int_equal(s.n_asked, 0);
    assert_int_equal(s.select.n, 1);
    assert_string_equal(s.select.terms[0].keys[0], SPY_LABEL_SAMPLE_TYPE);
    assert_null(s.select.terms[0].value); // nothing that is kept apart
    assert_false(s.view.idle || s.view.gil || s.view.no_native || s.view.no_lines ||
                 s.view.threads);
    assert_int_equal(s.view.processes, SPY_PROCESSES_AUTO);
    assert_string_equal(s.text, "anything");
}

static void test_the_default_from_is_an_hour_before_until(void **state)
{
    (void)state;
    struct spy_selector s;
    struct spy_err err;
    char hint[SPY_HINT_MAX];
    const struct spy_param params[] = {{"until", "-2h"}};
    assert_int_equal(parse(params, 1, &s, hint, &err), 0);
    assert_int_equal(s.select.from_ns, NOW - 3 * 3600 * SPY_NS_PER_SEC);
}

static void test_each_parameter_sets_its_field(void **state)
{
    (void)state;
    struct spy_selector s;
    struct spy_err err;
    char hint[SPY_HINT_MAX];
    const struct spy_param params[] = {{"pod", "a"},        {"pod", "b*"},    {"node", "n"},
                                       {"idle", "1"},       {"gil", "1"},     {"native", "0"},
                                       {"lines", "0"},      {"threads", "1"}, {"processes", "0"},
                                       {"include", "x"},    {"exclude", "y"}, {"thread", "t"},
                                       {"max_nodes", "99"}, {"format", "svg"}};
    assert_int_equal(parse(params, sizeof params / sizeof *params, &s, hint, &err), 0);
    assert_int_equal(s.n_asked, 3);
    assert_string_equal(s.select.terms[1].value, "b*");
    assert_string_equal(s.select.terms[0].keys[0], s.select.terms[1].keys[0]);
    assert_string_equal(s.select.terms[2].keys[0], SPY_LABEL_NODE);
    assert_string_equal(s.select.terms[2].keys[1], SPY_LABEL_HOST);
    assert_true(s.view.idle && s.view.gil && s.view.no_native && s.view.no_lines && s.view.threads);
    assert_int_equal(s.view.processes, SPY_PROCESSES_NO);
    assert_int_equal(s.view.max_nodes, 99);
    assert_int_equal(s.filter.n_include + s.filter.n_exclude + s.filter.n_threads, 3);
    assert_string_equal(s.format, "svg");
    assert_string_equal(s.text, "pod=a, pod=b*, node=n, include=x, exclude=y, thread=t");
}

static void test_a_named_type_replaces_the_default(void **state)
{
    (void)state;
    struct spy_selector s;
    struct spy_err err;
    char hint[SPY_HINT_MAX];
    const struct spy_param params[] = {{"type", "off_cpu"}, {"type", "cpu"}};
    assert_int_equal(parse(params, 2, &s, hint, &err), 0);
    assert_int_equal(s.select.n, 2);
    assert_int_equal(s.n_asked, 2);
    assert_string_equal(s.select.terms[0].value, "off_cpu");
    assert_null(s.select.terms[1].value); // series without the label
    assert_string_equal(s.text, "type=off_cpu, type=cpu");
    assert_string_equal(spy_selector_name(SPY_LABEL_SAMPLE_TYPE), "type");
}

static void test_a_wrong_parameter_is_named_and_changes_nothing(void **state)
{
    (void)state;
    static const struct spy_param bad[] = {
        {"frob", "1"},      {"", ""},           {"pod", ""},
        {"idle", "yes"},    {"threads", ""},    {"from", "x"},
        {"processes", "2"}, {"max_nodes", "9"}, {"max_nodes", "1000001"},
        {"include", "("},   {"exclude", ""},    {"Pod", "x"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct spy_selector s = {.format = "untouched"};
        struct spy_err err;
        char hint[SPY_HINT_MAX];
        assert_int_equal(parse(&bad[i], 1, &s, hint, &err), SPY_ERR_INVALID);
        assert_non_null(strstr(err.msg, bad[i].name));
        assert_true(*hint);
        assert_string_equal(s.format, "untouched");
    }
}

static void test_format_is_unknown_where_there_are_no_formats(void **state)
{
    (void)state;
    struct spy_selector s;
    struct spy_err err;
    char hint[SPY_HINT_MAX];
    const struct spy_param format = {"format", "svg"};
    assert_int_equal(spy_selector_parse(&format, 1, SPY_TAKES_NEITHER, NOW, &s, hint, &err),
                     SPY_ERR_INVALID);
    assert_null(strstr(hint, "format"));
}

static void test_filters_over_the_limit_are_an_error(void **state)
{
    (void)state;
    struct spy_selector s;
    struct spy_err err;
    char hint[SPY_HINT_MAX], many[600];
    struct spy_param params[SPY_FILTER_MAX + 1];
    for (size_t i = 0; i <= SPY_FILTER_MAX; i++)
        params[i] = (struct spy_param){"thread", "t"};
    assert_int_equal(parse(params, SPY_FILTER_MAX, &s, hint, &err), 0);
    assert_int_equal(parse(params, SPY_FILTER_MAX + 1, &s, hint, &err), SPY_ERR_INVALID);
    memset(many, 'x', sizeof many);
    many[sizeof many - 1] = 0;
    params[0] = (struct spy_param){"pod", many}; // long values are cut in texts only
    assert_int_equal(parse(params, 1, &s, hint, &err), 0);
    assert_true(strlen(s.text) < sizeof s.text);
}

RUN(T(test_times_are_parsed_in_every_form), T(test_without_parameters_the_last_hour_is_selected),
    T(test_the_default_from_is_an_hour_before_until), T(test_each_parameter_sets_its_field),
    T(test_a_named_type_replaces_the_default),
    T(test_a_wrong_parameter_is_named_and_changes_nothing),
    T(test_format_is_unknown_where_there_are_no_formats),
    T(test_filters_over_the_limit_are_an_error))
