#include "agent/top/model.h"
#include "agent/top/table.h"
#include "shared/base/clock.h"
#include "tests/unit/agent/top/build.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <string.h>

#define MS SPY_NS_PER_MS

static struct spy_top *new_top(void)
{
    struct spy_top *t = NULL;
    assert_int_equal(spy_top_new(&(struct spy_top_options){.gil = false}, &t, NULL), 0);
    return t;
}

static void fold(struct spy_top *t, const struct spy_profile *p, uint64_t samples)
{
    const struct spy_top_facts facts = {.pid = 7, .samples = samples};
    assert_true(spy_top_claim(t));
    assert_int_equal(spy_top_fold(t, p, &facts, 1000 * MS), 0);
}

static void add_running(struct spy_profile *p, uint64_t ns, size_t n, const char *const *names,
                        const uint32_t *lines)
{
    add_stack(p, 0, SPY_STATE_RUNNING, ns, n, names, lines);
}

static void own_is_the_innermost_and_total_counts_recursion_once(void **state)
{
    (void)state;
    uint32_t series;
    struct spy_profile *p = new_profile(&series);
    add_running(p, 300 * MS, 3, (const char *const[]){"a", "b", "b"}, (const uint32_t[]){1, 2, 2});
    add_running(p, 100 * MS, 1, (const char *const[]){"a"}, (const uint32_t[]){1});
    struct spy_top *t = new_top();
    struct spy_top_picture picture = {0};
    fold(t, p, 10);
    const struct spy_top_choice by_total = {.sort = SPY_TOP_TOTAL_PERCENT, .max = 10};
    assert_int_equal(spy_top_read(t, &by_total, &picture), 0);
    assert_int_equal(picture.n, 2);
    assert_string_equal(picture.rows[0].name, "a");
    assert_string_equal(picture.rows[1].name, "b");
    assert_string_equal(picture.rows[1].file, "pkg/f.py");
    assert_int_equal(picture.rows[1].line, 2);
    const double expected[] = {10, 40, 30, 30};
    for (int i = 0; i < 4; i++)
        assert_true(picture.rows[i / 2].percents[i % 2] == expected[i]);
    assert_true(picture.rows[1].secs[1] == 0.3);
    spy_top_picture_free(&picture);
    spy_top_free(t);
    spy_profile_free(p);
}

static void lines_of_a_function_become_one_row(void **state)
{
    (void)state;
    uint32_t series;
    struct spy_profile *p = new_profile(&series);
    add_running(p, 100 * MS, 2, (const char *const[]){"a", "b"}, (const uint32_t[]){1, 2});
    add_running(p, 100 * MS, 2, (const char *const[]){"a", "b"}, (const uint32_t[]){1, 3});
    struct spy_top *t = new_top();
    struct spy_top_picture picture = {0};
    fold(t, p, 2);
    struct spy_top_choice choice = {.sort = SPY_TOP_OWN_TIME, .max = 10};
    assert_int_equal(spy_top_read(t, &choice, &picture), 0);
    assert_int_equal(picture.n, 3);
    choice.functions = true;
    assert_int_equal(spy_top_read(t, &choice, &picture), 0);
    assert_int_equal(picture.n, 2);
    assert_string_equal(picture.rows[0].name, "b");
    assert_int_equal(picture.rows[0].line, 0);
    assert_true(picture.rows[0].secs[0] == 0.2);
    spy_top_picture_free(&picture);
    spy_top_free(t);
    spy_profile_free(p);
}

static void shares_are_of_the_latest_window_and_times_of_all(void **state)
{
    (void)state;
    uint32_t series;
    struct spy_profile *p = new_profile(&series), *q = new_profile(&series);
    add_running(p, 500 * MS, 1, (const char *const[]){"old"}, (const uint32_t[]){1});
    add_running(q, 200 * MS, 1, (const char *const[]){"new"}, (const uint32_t[]){1});
    struct spy_top *t = new_top();
    struct spy_top_picture picture = {0};
    fold(t, p, 50);
    fold(t, q, 70);
    struct spy_top_choice choice = {.sort = SPY_TOP_OWN_TIME, .max = 10};
    assert_int_equal(spy_top_read(t, &choice, &picture), 0);
    assert_string_equal(picture.rows[0].name, "old");
    assert_true(picture.rows[0].percents[0] == 0 && picture.rows[0].secs[0] == 0.5);
    assert_true(picture.rows[1].percents[0] == 20);
    assert_int_equal(picture.summary.facts.samples, 70);
    assert_true(picture.summary.samples_per_sec == 20);
    spy_top_reset(t);
    fold(t, q, 75);
    assert_int_equal(spy_top_read(t, &choice, &picture), 0);
    assert_int_equal(picture.n_all, 1);
    assert_int_equal(picture.summary.facts.samples, 5);
    spy_top_picture_free(&picture);
    spy_top_free(t);
    spy_profile_free(p);
    spy_profile_free(q);
}

static void the_header_counts_threads_and_names_who_waits(void **state)
{
    (void)state;
    uint32_t series, lines[] = {1};
    const char *const names[] = {"f"};
    struct spy_profile *p = new_profile(&series);
    add_stack(p, add_thread(p, 1, "main"), SPY_STATE_RUNNING | SPY_STATE_GIL_HOLDS, 900 * MS, 1,
              names, lines);
    for (unsigned i = 2; i < 14; i++) {
        char name[16];
        snprintf(name, sizeof name, "worker-%u", i);
        add_stack(p, add_thread(p, i, name), SPY_STATE_GIL_WAITS, i * 50 * MS, 1, names, lines);
    }
    struct spy_top *t = new_top();
    struct spy_top_picture picture = {0};
    fold(t, p, 1);
    assert_int_equal(spy_top_read(t, &(struct spy_top_choice){.max = 1}, &picture), 0);
    const struct spy_top_summary *s = &picture.summary;
    assert_int_equal(s->threads, 13);
    assert_int_equal(s->n_waiters, 12);
    assert_string_equal(s->waiters[0].name, "worker-13");
    assert_string_equal(s->waiters[SPY_TOP_WAITERS_MAX - 1].name, "worker-6");
    assert_true(s->gil == 90 && s->active == 90 && s->waiters[0].percent == 65);
    spy_top_picture_free(&picture);
    spy_top_free(t);
    spy_profile_free(p);
}

static void a_filter_leaves_rows_and_pages_count_from_the_sorted_ones(void **state)
{
    (void)state;
    uint32_t series;
    struct spy_profile *p = new_profile(&series);
    const char *const names[] = {"red", "green", "blue", "greenish"};
    for (uint32_t i = 0; i < 4; i++)
        add_running(p, (i + 1) * MS, 1, &names[i], &i);
    struct spy_top *t = new_top();
    struct spy_top_picture picture = {0};
    struct spy_top_choice choice = {.sort = SPY_TOP_OWN_TIME, .max = 10};
    assert_int_equal(spy_regex_new("^gre+n.* ", &choice.filter, NULL), 0);
    fold(t, p, 4);
    assert_int_equal(spy_top_read(t, &choice, &picture), 0);
    assert_int_equal(picture.n_matching, 2);
    assert_int_equal(picture.n_all, 4);
    assert_string_equal(picture.rows[0].name, "greenish");
    choice.first = 1;
    assert_int_equal(spy_top_read(t, &choice, &picture), 0);
    assert_int_equal(picture.n, 1);
    assert_string_equal(picture.rows[0].name, "green");
    spy_regex_free(choice.filter);
    spy_top_picture_free(&picture);
    spy_top_free(t);
    spy_profile_free(p);
}

// Ever new code: what has the least time is joined, and the sum of all time stays.
static void places_are_bounded_and_no_time_is_lost(void **state)
{
    (void)state;
    struct spy_top_table t = {0};
    uint64_t own = 0;
    for (unsigned window = 0; window < 30; window++) {
        assert_int_equal(spy_top_table_begin(&t), 0);
        for (unsigned i = 0; i < 1000; i++) {
            char name[32];
            snprintf(name, sizeof name, "f%u", window * 1000 + i);
            uint64_t sample_before = t.sample++;
            assert_true(t.sample > sample_before);
            spy_top_table_count(&t, spy_top_table_find(&t, name, "f.py", 1), 1, true);
            t.sample++;
            spy_top_table_count(&t, spy_top_table_find(&t, "hot", "f.py", 1), 1, true);
        }
        assert_in_range(t.n, 1, SPY_TOP_PLACES_MAX);
    }
    for (size_t i = 0; i < t.n; i++)
        own += t.places[i].own_all;
    assert_int_equal(own, 60000);
    assert_true(t.places[SPY_TOP_OTHERS].own_all > 10000);
    assert_int_equal(t.places[spy_top_table_find(&t, "hot", "f.py", 1)].own_all, 30000);
    spy_top_table_free(&t);
}

static void very_long_names_are_cut_between_characters(void **state)
{
    (void)state;
    struct spy_top_table t = {0};
    char name[1200] = "";
    for (size_t i = 0; i < 1190; i += strlen("\u754c"))
        memcpy(name + i, "\u754c", sizeof "\u754c");
    assert_int_equal(spy_top_table_begin(&t), 0);
    uint32_t place = spy_top_table_find(&t, name, "", 0);
    assert_int_equal(spy_top_table_find(&t, name, "", 0), place);
    assert_int_equal(strlen(t.places[place].name) % strlen("\u754c"), 0);
    assert_in_range(strlen(t.places[place].name), 200, 256);
    spy_top_table_free(&t);
}

RUN(T(own_is_the_innermost_and_total_counts_recursion_once), T(lines_of_a_function_become_one_row),
    T(shares_are_of_the_latest_window_and_times_of_all),
    T(the_header_counts_threads_and_names_who_waits),
    T(a_filter_leaves_rows_and_pages_count_from_the_sorted_ones),
    T(places_are_bounded_and_no_time_is_lost), T(very_long_names_are_cut_between_characters))
