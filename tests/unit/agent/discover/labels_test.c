#include "agent/discover/labels.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID1 "1111111111111111111111111111111111111111111111111111111111111111"
#define ID2 "2222222222222222222222222222222222222222222222222222222222222222"

static struct spy_labels with(const char *key, const char *value)
{
    struct spy_labels l;
    spy_labels_init(&l);
    spy_labels_set(&l, "podspy.dev", key, value);
    return l;
}

static void only_true_opts_in(void **state)
{
    (void)state;
    assert_int_equal(with("podspy.dev/profile", "true").consent, SPY_CONSENT_YES);
    assert_int_equal(with("podspy.dev/profile", "true").n_problems, 0);
    assert_int_equal(with("podspy.dev/profile", "false").consent, SPY_CONSENT_NO);
    assert_int_equal(with("podspy.dev/profile", "false").n_problems, 0);
    static const char *const others[] = {"True", "yes", "1", "", " true", "true "};
    for (size_t i = 0; i < SPY_COUNT(others); i++) {
        struct spy_labels l = with("podspy.dev/profile", others[i]);
        assert_int_equal(l.consent, SPY_CONSENT_NO);
        assert_int_equal(l.n_problems, 1);
    }
    assert_int_equal(with("podspy.devx/profile", "true").consent, SPY_CONSENT_UNSAID);
    assert_int_equal(with("other.dev/profile", "true").consent, SPY_CONSENT_UNSAID);
}

static void valid_values_are_used(void **state)
{
    (void)state;
    assert_int_equal(with("podspy.dev/rate", "1").rate, 1);
    assert_int_equal(with("podspy.dev/rate", "1000").rate, 1000);
    assert_int_equal(with("podspy.dev/native", "true").native, 1);
    assert_int_equal(with("podspy.dev/native", "false").native, 0);
    assert_int_equal(with("podspy.dev/blocking", "never").blocking, SPY_PAUSE_NEVER);
    assert_int_equal(with("podspy.dev/blocking", "auto").blocking, SPY_PAUSE_AUTO);
    assert_int_equal(with("podspy.dev/blocking", "always").blocking, SPY_PAUSE_ALWAYS);
    assert_string_equal(with("podspy.dev/service", "check out").service, "check out");
    assert_int_equal(with("podspy.dev/containers", "web").n_problems, 0);
}

static void invalid_values_leave_the_default_and_are_reported(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"rate", "0"},        {"rate", "1001"},
        {"rate", "-5"},       {"rate", "fast"},
        {"rate", ""},         {"rate", "10x"},
        {"rate", " 10"},      {"rate", "99999999999999999999"},
        {"native", "yes"},    {"native", ""},
        {"blocking", "no"},   {"blocking", "AUTO"},
        {"service", ""},      {"service", "a\nb"},
        {"rat", "100"},       {"", "x"},
        {"service", "\x1b["},
    };
    for (size_t i = 0; i < SPY_COUNT(bad); i++) {
        char key[64];
        snprintf(key, sizeof key, "podspy.dev/%s", bad[i][0]);
        struct spy_labels l = with(key, bad[i][1]);
        if (l.n_problems != 1 || l.rate != 0 || l.native != -1 || l.blocking != -1 || *l.service)
            fail_msg("%s=%s: %u problems", key, bad[i][1], l.n_problems);
        assert_non_null(strstr(l.problems[0], key));
    }
}

static void reported_problems_are_bounded(void **state)
{
    (void)state;
    struct spy_labels l;
    spy_labels_init(&l);
    static char big[1 << 16];
    memset(big, 'x', sizeof big - 1);
    for (int i = 0; i < 1000; i++)
        spy_labels_set(&l, "podspy.dev", "podspy.dev/rate", big);
    assert_int_equal(l.n_problems, SPY_LABEL_PROBLEMS);
}

static void containers_are_parsed_from_dockers_list(void **state)
{
    (void)state;
    static const char json[] =
        "[{\"Id\":\"" ID2 "\",\"Names\":[\"/web-1\",\"/x/alias\"],\"Image\":\"shop:1\","
        "\"ImageID\":\"sha256:1\",\"State\":\"running\",\"Labels\":{\"podspy.dev/"
        "profile\":\"true\","
        "\"podspy.dev/rate\":\"50\",\"com.docker.compose.service\":\"web\"}},"
        "{\"Id\":\"" ID1 "\",\"Names\":[\"/db\"],\"Image\":\"db\",\"Labels\":{}},"
        "{\"Id\":\"short\"},{\"Id\":7},17,null,{},"
        "{\"Id\":\"0000000000000000000000000000000000000000000000000000000000000000\","
        "\"Names\":7,\"Labels\":[],\"Image\":null}]";
    struct spy_containers c = {0};
    struct spy_err err = {0};
    assert_int_equal(spy_containers_parse(json, sizeof json - 1, "podspy.dev", &c, &err), 0);
    assert_int_equal(c.n, 3);
    const struct spy_container *web = spy_containers_find(&c, ID2);
    assert_non_null(web);
    assert_string_equal(web->name, "web-1");
    assert_string_equal(web->image, "shop:1");
    assert_string_equal(web->owner, "web");
    assert_int_equal(web->labels.consent, SPY_CONSENT_YES);
    assert_int_equal(web->labels.rate, 50);
    assert_int_equal(spy_containers_find(&c, ID1)->labels.consent, SPY_CONSENT_UNSAID);
    assert_null(spy_containers_find(&c, "3"));
    spy_containers_free(&c);
}

static void a_configured_label_prefix_is_used(void **state)
{
    (void)state;
    static const char json[] = "[{\"Id\":\"" ID1 "\",\"Labels\":{\"podspy.dev/profile\":\"true\","
                               "\"acme.io/profile\":\"true\",\"acme.io/rate\":\"7\"}}]";
    struct spy_containers c = {0};
    assert_int_equal(spy_containers_parse(json, sizeof json - 1, "acme.io", &c, NULL), 0);
    assert_int_equal(c.all[0].labels.rate, 7);
    assert_int_equal(c.all[0].labels.consent, SPY_CONSENT_YES);
    spy_containers_free(&c);
}

static void an_answer_that_is_not_a_list_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",      "{}",  "[",    "null",
                                      "\"x\"", "[{]", "\xff", "{\"message\":1}"};
    for (size_t i = 0; i < SPY_COUNT(bad); i++) {
        struct spy_containers c = {0};
        struct spy_err err = {0};
        assert_int_equal(spy_containers_parse(bad[i], strlen(bad[i]), "podspy.dev", &c, &err),
                         SPY_ERR_INVALID);
        assert_null(c.all);
        assert_true(*err.msg);
    }
}

RUN(T(only_true_opts_in), T(valid_values_are_used),
    T(invalid_values_leave_the_default_and_are_reported), T(reported_problems_are_bounded),
    T(containers_are_parsed_from_dockers_list), T(a_configured_label_prefix_is_used),
    T(an_answer_that_is_not_a_list_is_refused))
