#include "shared/base/clock.h"
#include "shared/base/text.h"
#include "shared/formats/filter.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <string.h>

static uint32_t str(struct spy_profile *p, const char *s)
{
    uint32_t id;
    assert_int_equal(spy_profile_cstr(p, s, &id), 0);
    return id;
}

static uint32_t push(struct spy_profile *p, uint32_t parent, const char *name, const char *file)
{
    uint32_t f, frame, stack;
    struct spy_function fn = {.name = str(p, name), .filename = str(p, file)};
    assert_int_equal(spy_profile_function(p, &fn, &f), 0);
    assert_int_equal(spy_profile_frame(p, (struct spy_frame){f, 1}, &frame), 0);
    assert_int_equal(spy_profile_stack(p, parent, frame, &stack), 0);
    return stack;
}

// main > web > db, main > batch, and an empty stack; threads 11 "worker-1" and 12 "main".
struct fixture {
    struct spy_profile *p;
    struct spy_sample web, db, batch, none;
};

static struct fixture make(void)
{
    struct fixture f = {.p = spy_profile_new()};
    uint32_t root = push(f.p, 0, "main", "/app/main.py");
    f.web.stack = push(f.p, root, "web", "/app/web.py");
    f.db.stack = push(f.p, f.web.stack, "query", "/lib/db.py");
    f.batch.stack = push(f.p, root, "batch", "/app/batch.py");
    assert_int_equal(spy_profile_thread(f.p, 11, str(f.p, "worker-1"), &f.web.thread), 0);
    assert_int_equal(spy_profile_thread(f.p, 12, str(f.p, "main"), &f.batch.thread), 0);
    f.db.thread = f.web.thread;
    return f;
}

static void check(const struct fixture *f, struct spy_filter_options o, bool web, bool db,
                  bool batch, bool none)
{
    struct spy_filter *filter = NULL;
    struct spy_err err = {0};
    assert_int_equal(spy_filter_new(&o, f->p, &filter, &err), 0);
    assert_int_equal(spy_filter_has(filter, &f->web), web);
    assert_int_equal(spy_filter_has(filter, &f->db), db);
    assert_int_equal(spy_filter_has(filter, &f->batch), batch);
    assert_int_equal(spy_filter_has(filter, &f->none), none);
    spy_filter_free(filter);
}

static void test_include_and_exclude_look_at_every_frame_of_a_stack(void **state)
{
    (void)state;
    struct fixture f = make();
    check(&f, (struct spy_filter_options){0}, true, true, true, true);
    check(&f, (struct spy_filter_options){.include = {"^web "}, .n_include = 1}, true, true, false,
          false);
    check(&f, (struct spy_filter_options){.include = {"db\\.py$"}, .n_include = 1}, false, true,
          false, false);
    check(&f, (struct spy_filter_options){.include = {"query", "batch"}, .n_include = 2}, false,
          true, true, false);
    check(&f, (struct spy_filter_options){.exclude = {"query"}, .n_exclude = 1}, true, false, true,
          true);
    check(&f,
          (struct spy_filter_options){
              .include = {"web"}, .n_include = 1, .exclude = {"query"}, .n_exclude = 1},
          true, false, false, false);
    spy_profile_free(f.p);
}

static void test_threads_go_by_number_or_name(void **state)
{
    (void)state;
    struct fixture f = make();
    check(&f, (struct spy_filter_options){.threads = {"11"}, .n_threads = 1}, true, true, false,
          false);
    check(&f, (struct spy_filter_options){.threads = {"main"}, .n_threads = 1}, false, false, true,
          false);
    check(&f, (struct spy_filter_options){.threads = {"work*", "12"}, .n_threads = 2}, true, true,
          true, false);
    check(&f, (struct spy_filter_options){.threads = {"1"}, .n_threads = 1}, false, false, false,
          false);
    spy_profile_free(f.p);
}

static void test_expensive_and_broken_expressions_are_refused(void **state)
{
    (void)state;
    struct fixture f = make();
    static const struct {
        const char *text;
        int code;
    } rows[] = {{"(", SPY_ERR_INVALID}, {"((x{999}){999}){999}", SPY_ERR_LIMIT}};
    for (size_t i = 0; i < 2; i++) {
        struct spy_filter *filter = NULL;
        struct spy_err err = {0};
        struct spy_filter_options o = {.include = {"main", rows[i].text}, .n_include = 2};
        assert_int_equal(spy_filter_new(&o, f.p, &filter, &err), rows[i].code);
        assert_null(filter);
        assert_true(err.msg[0]);
    }
    spy_profile_free(f.p);
}

// Names of 4000 bytes, so that each search takes all its steps.
static struct spy_profile *with_long_names(int n)
{
    struct spy_profile *p = spy_profile_new();
    char name[4001];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = 0;
    for (int i = 0; i < n; i++) {
        int digits = snprintf(name, sizeof name, "%d", i);
        name[digits] = 'a';
        push(p, 0, name, "/app/many.py");
    }
    return p;
}

static void test_searches_end_at_the_time_limit_or_when_the_client_leaves(void **state)
{
    (void)state;
    struct spy_profile *p = with_long_names(4000);
    struct spy_filter *filter = NULL;
    struct spy_err err = {0};
    bool stop = false;
    // One search takes some milliseconds, within its steps.
    struct spy_filter_options o = {.exclude = {"\\w+\\s{2}"}, .n_exclude = 1, .stop = &stop};
    uint64_t began = spy_clock_thread_cpu_ns();
    assert_int_equal(spy_filter_new(&o, p, &filter, &err), SPY_ERR_INVALID);
    assert_true(spy_clock_thread_cpu_ns() - began < (SPY_FILTER_CPU_SECS + 1) * SPY_NS_PER_SEC);
    assert_non_null(strstr(err.msg, "simplify"));
    stop = true;
    began = spy_clock_thread_cpu_ns();
    assert_int_equal(spy_filter_new(&o, p, &filter, &err), SPY_ERR_GONE);
    assert_true(spy_clock_thread_cpu_ns() - began < SPY_NS_PER_SEC / 2);
    spy_profile_free(p);
}

static void test_an_expression_of_too_many_steps_is_named(void **state)
{
    (void)state;
    struct spy_profile *p = with_long_names(1);
    struct spy_filter *filter = NULL;
    struct spy_err err = {0};
    struct spy_filter_options o = {.include = {"(.*a){20}[!~]"}, .n_include = 1};
    assert_int_equal(spy_filter_new(&o, p, &filter, &err), SPY_ERR_INVALID);
    assert_non_null(strstr(err.msg, "'(.*a){20}[!~]' takes too many steps"));
    spy_profile_free(p);
}

static void test_many_functions_are_matched_alike(void **state)
{
    (void)state;
    struct spy_profile *p = spy_profile_new();
    struct spy_filter *filter = NULL;
    struct spy_filter_options o = {.include = {"_7 "}, .n_include = 1};
    uint32_t stacks[4000];
    char name[64];
    for (int i = 0; i < 4000; i++) {
        snprintf(name, sizeof name, "a_function_of_some_length_%d_%d", i, i % 10);
        stacks[i] = push(p, 0, name, "/app/many.py");
    }
    assert_int_equal(spy_filter_new(&o, p, &filter, NULL), 0);
    for (int i = 0; i < 4000; i++)
        assert_int_equal(spy_filter_has(filter, &(struct spy_sample){.stack = stacks[i]}),
                         i % 10 == 7);
    spy_filter_free(filter);
    spy_profile_free(p);
}

static void test_globs_match_whole_texts_in_bounded_time(void **state)
{
    (void)state;
    assert_true(spy_glob_matches("", ""));
    assert_false(spy_glob_matches("", "a"));
    assert_true(spy_glob_matches("*", ""));
    assert_true(spy_glob_matches("a*c", "abbbc"));
    assert_true(spy_glob_matches("a*b*c", "axbxbxc"));
    assert_false(spy_glob_matches("a*c", "abcd"));
    assert_false(spy_glob_matches("web", "web-1"));
    assert_true(spy_glob_matches("web**", "web"));
    char pattern[200], text[20001];
    for (size_t i = 0; i < sizeof pattern - 1; i++)
        pattern[i] = i % 2 ? 'a' : '*';
    pattern[sizeof pattern - 2] = 'b';
    pattern[sizeof pattern - 1] = 0;
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    uint64_t began = spy_clock_mono_ns();
    assert_false(spy_glob_matches(pattern, text));
    assert_true(spy_clock_mono_ns() - began < 2 * SPY_NS_PER_SEC);
}

RUN(T(test_include_and_exclude_look_at_every_frame_of_a_stack),
    T(test_threads_go_by_number_or_name), T(test_expensive_and_broken_expressions_are_refused),
    T(test_searches_end_at_the_time_limit_or_when_the_client_leaves),
    T(test_an_expression_of_too_many_steps_is_named), T(test_many_functions_are_matched_alike),
    T(test_globs_match_whole_texts_in_bounded_time))
