#include "collector/grafana/matchers.h"
#include "tests/unit/test.h"
#include <string.h>

static const struct spy_named shop[] = {{"service.name", "checkout"},
                                        {"k8s.pod.name", "web-0"},
                                        {"2nd", "digit"},
                                        {"odd-key", "dash"},
                                        {"odd.key", "dot"}};

static void test_selectors_match_or_not(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int matches; // negative: malformed
    } rows[] = {
        {"", 1},
        {" \n", 1},
        {"{}", 1},
        {"{ }", 1},
        {"{service_name=\"checkout\"}", 1},
        {"{service_name='checkout',}", 1},
        {"{\"service.name\"=`checkout`}", 1},
        {"{service_name=\"check\"}", 0},
        {"{service_name=~\"check\"}", 0},
        {"{service_name=~\"check.*\"}", 1},
        {"{service_name=~\"x|check.*\"}", 1},
        {"{service_name!~\"x|check.*\"}", 0},
        {"{service_name!=\"x\",k8s_pod_name=\"web-0\"}", 1},
        {"{service_name!=\"x\",k8s_pod_name=\"web-1\"}", 0},
        {"{none=\"\"}", 1},
        {"{none!=\"\"}", 0},
        {"{none=~\".*\"}", 1},
        {"{none=~\".+\"}", 0},
        {"{_2nd=\"digit\"}", 1},
        {"{\"2nd\"=\"digit\"}", 1},
        {"{\"odd.key\"=\"dot\"}", 1}, // the key itself, not the one before it
        {"{service_name=\"\\x63heckout\"}", 1},
        {"{service_name=\"\\143heckout\"}", 1},
        {"{service_name=\"\\u0063heckout\"}", 1},
        {"{service_name=\"\\U00000063heckout\"}", 1},
        {"{service_name=~\"\\\\Qcheckout\"}", 1}, // RE2 lets \Q run to the end
        {"{service_name=~`\\w+`}", 1},
        {"{", -1},
        {"}", -1},
        {"{,}", -1},
        {"{a}", -1},
        {"{a=}", -1},
        {"{a=\"b\"", -1},
        {"{a=\"b\" c=\"d\"}", -1},
        {"{a=\"b}", -1},
        {"{a=\"b\\", -1},
        {"{a=\"\\x6\"}", -1},
        {"{a=\"\\400\"}", -1},
        {"{a=\"\\0\"}", -1},
        {"{a=\"\\x00\"}", -1},
        {"{a=\"\\y\"}", -1},
        {"{a=~\"x)|(y\"}", -1},
        {"{a=~\"[\"}", -1},
        {"{a.b=\"c\"}", -1},
        {"{}x", -1},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        struct spy_matchers m;
        struct spy_err err = {0};
        int r = spy_matchers_parse(rows[i].text, &m, &err);
        if (r == 0)
            r = spy_matchers_match(&m, shop, SPY_COUNT(shop), &err);
        if (r != (rows[i].matches < 0 ? SPY_ERR_INVALID : rows[i].matches))
            fail_msg("%s gave %d: %s", rows[i].text, r, err.msg);
        if (rows[i].matches >= 0)
            spy_matchers_free(&m);
    }
}

static void test_code_points_are_written_as_utf8(void **state)
{
    (void)state;
    struct spy_matchers m;
    assert_int_equal(
        spy_matchers_parse("{a=\"\\u00e9\\u20ac\\U0001f600\\ud800\\U00110000\"}", &m, NULL), 0);
    assert_string_equal(m.rows[0].value,
                        "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbd\xef\xbf\xbd");
    spy_matchers_free(&m);
}

static void narrow(const char *selector, struct spy_matchers *m, struct spy_select *ret)
{
    *ret = (struct spy_select){0};
    assert_int_equal(spy_matchers_parse(selector, m, NULL), 0);
    spy_matchers_narrow(m, ret);
}

static void test_a_selection_is_narrowed_by_what_it_can_hold(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n;
        const char *key, *value; // of the last term
    } rows[] = {
        {"{}", 0, NULL, NULL},
        {"{service_name=\"x\"}", 1, SPY_LABEL_SERVICE, "x"},
        {"{\"service.name\"=\"x\"}", 1, SPY_LABEL_SERVICE, "x"},
        {"{service_name=\"\"}", 0, NULL, NULL}, // a series without the label matches too
        {"{service_name!=\"x\"}", 0, NULL, NULL},
        {"{other=\"x\"}", 0, NULL, NULL},
        {"{service_name=~\"x|y\\\\.z\"}", 2, SPY_LABEL_SERVICE, "y.z"},
        {"{service_name=~\"x|\"}", 0, NULL, NULL},
        {"{service_name=~\"x|y.*\"}", 0, NULL, NULL},
        {"{service_name=~\"x|\\\\d\"}", 0, NULL, NULL},
        {"{service_name!~\"x|y\"}", 0, NULL, NULL},
        // Terms of one key are alternatives, so a second matcher may not add to them.
        {"{service_name=\"x\",service_name=\"y\"}", 1, SPY_LABEL_SERVICE, "x"},
        {"{service_name=\"x\",k8s_pod_name=\"y\"}", 2, SPY_LABEL_POD, "y"},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        struct spy_matchers m;
        struct spy_select s;
        narrow(rows[i].text, &m, &s);
        if (s.n != rows[i].n || (s.n && (strcmp(s.terms[s.n - 1].keys[0], rows[i].key) != 0 ||
                                         strcmp(s.terms[s.n - 1].value, rows[i].value) != 0)))
            fail_msg("%s gave %zu terms", rows[i].text, s.n);
        spy_matchers_free(&m);
    }
}

static void test_names_of_labels_are_made_identifiers(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"k8s.pod.name", "k8s_pod_name"}, {"2nd", "_2nd"}, {"a-b/c", "a_b_c"}, {"", ""}};
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        char name[32];
        spy_label_name(rows[i][0], name);
        assert_string_equal(name, rows[i][1]);
        assert_true(spy_label_is_named(rows[i][0], name));
    }
    assert_false(spy_label_is_named("k8s.pod.name", "k8s_pod"));
    assert_false(spy_label_is_named("k8s.pod", "k8s_pod_name"));
    assert_false(spy_label_is_named("a.b", "a-b"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_selectors_match_or_not),
        cmocka_unit_test(test_code_points_are_written_as_utf8),
        cmocka_unit_test(test_a_selection_is_narrowed_by_what_it_can_hold),
        cmocka_unit_test(test_names_of_labels_are_made_identifiers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
