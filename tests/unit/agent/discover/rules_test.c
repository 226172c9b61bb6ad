#include "agent/discover/rules.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <string.h>

static struct spy_facts facts;

// A process of which everything is known already, so that nothing is read.
static void given(const char *cmdline, size_t len, const char *cgroup, uid_t uid)
{
    memset(&facts, 0, sizeof facts);
    facts.dir = -1;
    facts.have = SPY_HAVE_ARGS | SPY_HAVE_STATUS | SPY_HAVE_CGROUP;
    spy_proc_args_parse(cmdline, len, &facts.args);
    facts.status.uid = uid;
    facts.cgroup_len = strlen(cgroup);
    memcpy(facts.cgroup, cgroup, facts.cgroup_len + 1);
}

static bool matches(struct spy_rule rule)
{
    rule.name = (char[]){"r"};
    struct spy_rules *r = NULL;
    struct spy_err err = {0};
    if (spy_rules_new(&rule, 1, &r, &err) < 0)
        fail_msg("%s", err.msg);
    bool yes = spy_rules_match(r, &facts) == &rule;
    spy_rules_free(r);
    return yes;
}

#define RULE(...)                                                                                  \
    (struct spy_rule)                                                                              \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define S(s)                                                                                       \
    (char[])                                                                                       \
    {                                                                                              \
        s                                                                                          \
    }

static void each_field_matches_as_documented(void **state)
{
    (void)state;
    static const char cmd[] = "/usr/bin/python3\0/usr/bin/gunicorn\0app:app";
    given(cmd, sizeof cmd, "1:cpu:/\n0::/system.slice/web.service\n", 33);
    assert_true(matches(RULE(.cmdline = S("gunicorn app"))));
    assert_true(matches(RULE(.cmdline = S("^/usr/bin/python3 .*app$"))));
    assert_false(matches(RULE(.cmdline = S("^gunicorn"))));
    assert_true(matches(RULE(.exe = S("/usr/bin/python3*"))));
    assert_true(matches(RULE(.exe = S("/usr/*3"))));
    assert_true(matches(RULE(.exe = S("python3"))));
    assert_true(matches(RULE(.exe = S("python*"))));
    assert_false(matches(RULE(.exe = S("/usr/bin/python"))));
    assert_false(matches(RULE(.exe = S("gunicorn"))));
    assert_true(matches(RULE(.cgroup = S("/system.slice/web.service"))));
    assert_true(matches(RULE(.cgroup = S("*/web.service"))));
    assert_false(matches(RULE(.cgroup = S("web.service"))));
    assert_true(matches(RULE(.user = S("33"))));
    assert_true(matches(RULE(.user = S("www-data"))));
    assert_false(matches(RULE(.user = S("root"))));
    assert_false(matches(RULE(.user = S("3"))));
}

static void all_given_fields_must_match(void **state)
{
    (void)state;
    given("python3\0a.py", 13, "0::/web\n", 0);
    assert_true(matches(
        RULE(.cmdline = S("a.py"), .exe = S("python3"), .cgroup = S("/web"), .user = S("root"))));
    assert_false(matches(RULE(.cmdline = S("a.py"), .user = S("33"))));
    assert_false(matches(RULE(.cmdline = S("b.py"), .user = S("root"))));
    assert_false(matches(RULE(.cmdline = S("a.py"), .exe = S("ruby"))));
    assert_false(matches(RULE(.cmdline = S("a.py"), .cgroup = S("/db"))));
}

static void the_first_rule_that_matches_is_taken(void **state)
{
    (void)state;
    struct spy_rule rules[] = {{.name = S("a"), .cmdline = S("nothing")},
                               {.name = S("b"), .cmdline = S("py")},
                               {.name = S("c"), .cmdline = S("python")}};
    struct spy_rules *r = NULL;
    given("python3", 8, "", 0);
    assert_int_equal(spy_rules_new(rules, 3, &r, NULL), 0);
    assert_ptr_equal(spy_rules_match(r, &facts), &rules[1]);
    spy_rules_free(r);
}

static void a_process_without_arguments_matches_no_arguments(void **state)
{
    (void)state;
    given("", 0, "", 0); // a zombie, or one that cleared them
    assert_false(matches(RULE(.cmdline = S(".*"))));
    assert_false(matches(RULE(.exe = S("*"))));
    assert_false(matches(RULE(.cgroup = S("*"))));
    assert_true(matches(RULE(.user = S("0"))));
}

static void a_process_that_went_away_matches_nothing(void **state)
{
    (void)state;
    given("python3", 8, "0::/\n", 0);
    facts.have = 0; // to be read, and cannot be
    assert_false(matches(RULE(.cmdline = S("python3"))));
    assert_false(matches(RULE(.cgroup = S("*"))));
    assert_false(matches(RULE(.user = S("0"))));
}

static void an_unknown_user_is_an_error_that_names_the_rule(void **state)
{
    (void)state;
    struct spy_rule rule = {.name = S("web"), .user = S("no-such-user-here")};
    struct spy_rules *r = NULL;
    struct spy_err err = {0};
    assert_int_equal(spy_rules_new(&rule, 1, &r, &err), SPY_ERR_INVALID);
    assert_null(r);
    assert_non_null(strstr(err.msg, "web"));
    assert_non_null(strstr(err.msg, "no-such-user-here"));
}

RUN(T(each_field_matches_as_documented), T(all_given_fields_must_match),
    T(the_first_rule_that_matches_is_taken), T(a_process_without_arguments_matches_no_arguments),
    T(a_process_that_went_away_matches_nothing), T(an_unknown_user_is_an_error_that_names_the_rule))
