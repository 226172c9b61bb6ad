#include "shared/base/mem.h"
#include "shared/formats/format.h"
#include "shared/formats/tree.h"
#include "tests/data/synthetic.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A profile of one process that is filled stack by stack.
struct maker {
    struct spy_profile *p;
    uint32_t series;
};

static struct maker start(void)
{
    struct maker m = {.p = spy_profile_new()};
    assert_int_equal(spy_profile_series(m.p, NULL, 0, &m.series), 0);
    return m;
}

static uint32_t push(struct maker *m, uint32_t parent, const char *name, const char *file,
                     uint32_t line)
{
    struct spy_function f = {.start_line = 1};
    uint32_t fn, frame, stack;
    assert_int_equal(spy_profile_cstr(m->p, name, &f.name), 0);
    assert_int_equal(spy_profile_cstr(m->p, file, &f.filename), 0);
    assert_int_equal(spy_profile_function(m->p, &f, &fn), 0);
    assert_int_equal(spy_profile_frame(m->p, (struct spy_frame){fn, line}, &frame), 0);
    assert_int_equal(spy_profile_stack(m->p, parent, frame, &stack), 0);
    return stack;
}

static void add(struct maker *m, uint32_t stack, uint32_t state, uint64_t count, uint64_t ns)
{
    assert_int_equal(spy_profile_add(m->p, m->series, stack, 0, state, count, ns), 0);
}

static char *print(const struct spy_profile *p, const char *format, const struct spy_view *v)
{
    struct spy_buf b = SPY_BUF_INIT(64 << 20);
    struct spy_err e = {0};
    if (spy_format_find(format)->print(p, v, &b, &e) < 0)
        fail_msg("%s: %s", format, e.msg);
    return (char *)b.data;
}

static void assert_collapsed(const struct spy_profile *p, struct spy_view v, const char *want)
{
    _cleanup_free_ char *got = print(p, "collapsed", &v);
    assert_string_equal(got ? got : "", want);
}

static void formats_are_found_by_each_of_their_names(void **state)
{
    (void)state;
    size_t n;
    const struct spy_format *const *all = spy_format_list(&n);
    for (size_t i = 0; i < n; i++) {
        assert_ptr_equal(spy_format_find(all[i]->name), all[i]);
        assert_true(!all[i]->alias || spy_format_find(all[i]->alias) == all[i]);
    }
    assert_non_null(spy_format_find("json"));
    assert_non_null(spy_format_find("speedscope"));
    assert_ptr_equal(spy_format_find("flamegraph"), spy_format_find("svg"));
    assert_ptr_equal(spy_format_find("RAW"), spy_format_find("collapsed"));
    assert_null(spy_format_find(""));
    assert_null(spy_format_find("sv"));
    assert_null(spy_format_find("pdf"));
}

static void filenames_are_shortened_for_people(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", ""},
        {"/", "/"},
        {"x.py", "x.py"},
        {"/x.py", "x.py"},
        {"a/x.py", "a/x.py"},
        {"/a/x.py", "a/x.py"},
        {"/srv/a/x.py", "a/x.py"},
        {"/v/lib/python3.11/site-packages/flask/app.py", "flask/app.py"},
        {"/usr/lib/python3/dist-packages/six.py", "six.py"},
        {"/usr/lib/python3.11/asyncio/base.py", "asyncio/base.py"},
        {"/usr/lib/python3.13t/x.py", "x.py"},
        {"/usr/lib/pythonic/tools/x.py", "tools/x.py"},
        {"/a/site-packages/", "/a/site-packages/"},
        {"/srv/dir/", "/srv/dir/"},
        {"<frozen importlib._bootstrap>", "<frozen importlib._bootstrap>"},
        {"/s/site-packages/a/site-packages/b.py", "b.py"},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++)
        assert_string_equal(spy_short_filename(rows[i][0]), rows[i][1]);
}

static void views_choose_samples_by_state(void **state)
{
    (void)state;
    struct maker m = start();
    _cleanup_profile_ struct spy_profile *p = m.p;
    uint32_t f = push(&m, 0, "f", "", 0);
    add(&m, f, 0, 1, 0);
    add(&m, f, SPY_STATE_RUNNING, 10, 0);
    add(&m, f, SPY_STATE_RUNNING | SPY_STATE_GIL_HOLDS, 100, 0);
    add(&m, f, SPY_STATE_GIL_WAITS, 1000, 0);
    add(&m, f, SPY_STATE_GIL_HOLDS, 10000, 0);
    add(&m, f, SPY_STATE_RUNNABLE, 200000, 0); // not on a CPU: none of what ran
    assert_collapsed(p, (struct spy_view){0}, "f 110\n");
    assert_collapsed(p, (struct spy_view){.idle = true}, "f 211111\n");
    assert_collapsed(p, (struct spy_view){.gil = true}, "f 100\n");
    assert_collapsed(p, (struct spy_view){.gil = true, .idle = true}, "f 10100\n");
}

static void lines_merge_or_show_the_first(void **state)
{
    (void)state;
    struct maker m = start();
    _cleanup_profile_ struct spy_profile *p = m.p;
    add(&m, push(&m, 0, "f", "x.py", 5), 1, 1, 0);
    add(&m, push(&m, 0, "f", "x.py", 6), 1, 2, 0);
    assert_collapsed(p, (struct spy_view){0}, "f (x.py:5) 1\nf (x.py:6) 2\n");
    assert_collapsed(p, (struct spy_view){.no_lines = true}, "f (x.py) 3\n");
    assert_collapsed(p, (struct spy_view){.function_lines = true}, "f (x.py:1) 3\n");
}

static void processes_show_by_themselves_when_there_are_two(void **state)
{
    (void)state;
    struct maker m = start();
    _cleanup_profile_ struct spy_profile *p = m.p;
    struct spy_label l;
    uint32_t f = push(&m, 0, "f", "", 0), other;
    add(&m, f, 1, 1, 0);
    assert_collapsed(p, (struct spy_view){.processes = SPY_PROCESSES_YES}, "process;f 1\n");
    spy_profile_cstr(p, SPY_LABEL_PID, &l.key);
    spy_profile_cstr(p, "7", &l.value);
    assert_int_equal(spy_profile_series(p, &l, 1, &other), 0);
    assert_int_equal(spy_profile_add(p, other, f, 0, 0, 2, 0), 0);
    assert_collapsed(p, (struct spy_view){0}, "f 1\n"); // the other one did not run
    assert_collapsed(p, (struct spy_view){.idle = true}, "process;f 1\nprocess (7);f 2\n");
    assert_collapsed(p, (struct spy_view){.idle = true, .processes = SPY_PROCESSES_NO}, "f 3\n");
}

static void samples_without_a_frame_are_counted(void **state)
{
    (void)state;
    struct maker m = start();
    _cleanup_profile_ struct spy_profile *p = m.p;
    add(&m, 0, 1, 5, 0);
    assert_collapsed(p, (struct spy_view){0}, "[no frames] 5\n");
}

static void unterminated_names_are_cut_and_printed(void **state)
{
    (void)state;
    struct maker m = start();
    _cleanup_profile_ struct spy_profile *p = m.p;
    static char big[200001];
    memset(big, 'x', sizeof big - 1);
    add(&m, push(&m, 0, big, big, 1), 1, 3, 0);
    add(&m, push(&m, 0, "", "", 0), 1, 4, 0);
    add(&m, push(&m, 0, "", "", 7), 1, 5, 0);
    _cleanup_free_ char *text = print(p, "collapsed", &(struct spy_view){0});
    assert_true(strlen(text) < 3000);
    _cleanup_free_ char *svg = print(p, "svg", &(struct spy_view){.threads = true});
    assert_non_null(strstr(svg, "xxx\xe2\x80\xa6"));
}

static void sums_saturate(void **state)
{
    (void)state;
    struct maker m = start();
    _cleanup_profile_ struct spy_profile *p = m.p;
    for (uint32_t i = 1; i < 5; i++)
        add(&m, push(&m, 0, "f", "x.py", i), 1, UINT64_MAX - 5, UINT64_MAX - 5);
    struct spy_tree t;
    assert_int_equal(spy_tree_build(p, &(struct spy_view){.no_lines = true}, &t), 0);
    assert_true(t.nodes[0].total == UINT64_MAX && t.nodes[0].total_ns == UINT64_MAX);
    spy_tree_free(&t);
    _cleanup_free_ char *svg = print(p, "svg", &(struct spy_view){0});
    assert_non_null(strstr(svg, "18446744073709551615 samples"));
}

static void check_tree(const struct spy_tree *t)
{
    uint64_t self = 0;
    for (uint32_t i = 0;;) {
        const struct spy_node *n = &t->nodes[i];
        uint64_t sum = n->self, sum_ns = n->self_ns;
        for (uint32_t c = n->first_child; c; c = t->nodes[c].next) {
            assert_int_equal(t->nodes[c].parent, i);
            assert_int_equal(t->nodes[c].depth, n->depth + 1);
            sum += t->nodes[c].total;
            sum_ns += t->nodes[c].total_ns;
        }
        assert_true(sum == n->total && sum_ns == n->total_ns && n->depth <= t->max_depth);
        self += n->self;
        if (!(i = spy_tree_next(t, i)))
            break;
    }
    assert_int_equal(self, t->nodes[0].total);
}

static void trees_stay_consistent_whatever_is_folded(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        _cleanup_profile_ struct spy_profile *p = test_profile_random(seed, 80);
        uint64_t count, ns;
        test_profile_totals(p, &count, &ns);
        for (uint32_t max = 0; max < 40; max += 3) {
            struct spy_tree t;
            struct spy_view v = {
                .idle = true, .threads = seed & 1, .no_native = seed & 2, .max_nodes = max};
            assert_int_equal(spy_tree_build(p, &v, &t), 0);
            check_tree(&t);
            assert_true(t.nodes[0].total == count && t.nodes[0].total_ns == ns);
            spy_tree_free(&t);
        }
    }
}

// A chain and equal weights: folding keeps as many as it may, outermost first.
static void folding_keeps_outer_frames_of_equal_weight(void **state)
{
    (void)state;
    struct maker m = start();
    _cleanup_profile_ struct spy_profile *p = m.p;
    uint32_t s = 0;
    for (uint32_t i = 1; i <= 50; i++)
        s = push(&m, s, "f", "x.py", i);
    add(&m, s, 1, 7, 0);
    assert_collapsed(p, (struct spy_view){.max_nodes = 4},
                     "f (x.py:1);f (x.py:2);f (x.py:3);(1 smaller) 7\n");
    assert_collapsed(p, (struct spy_view){.max_nodes = 1}, "(1 smaller) 7\n");
}

static void the_cap_of_the_buffer_is_an_error_that_says_what_to_do(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = test_profile_rich();
    size_t n;
    const struct spy_format *const *all = spy_format_list(&n);
    for (size_t i = 0; i < n; i++) {
        _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(20);
        struct spy_err e = {0};
        assert_int_equal(all[i]->print(p, &(struct spy_view){0}, &b, &e), SPY_ERR_LIMIT);
        assert_non_null(strstr(e.msg, "max_nodes"));
        assert_true(b.len <= 20);
    }
}

static void printing_does_not_change_the_profile(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = test_profile_rich();
    _cleanup_free_ char *before = test_profile_spelled(p);
    size_t n;
    const struct spy_format *const *all = spy_format_list(&n);
    for (size_t i = 0; i < n; i++) {
        _cleanup_free_ char *a = print(p, all[i]->name, &(struct spy_view){.idle = true});
        _cleanup_free_ char *b = print(p, all[i]->name, &(struct spy_view){.idle = true});
        assert_string_equal(a, b); // and is the same each time
    }
    _cleanup_free_ char *after = test_profile_spelled(p);
    assert_string_equal(before, after);
}

static void a_flamegraph_of_20000_frames_is_below_a_megabyte(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = test_profile_large(20000);
    _cleanup_(spy_tree_free) struct spy_tree t = {0};
    assert_int_equal(spy_tree_build(p, &(struct spy_view){0}, &t), 0);
    assert_in_range(t.n, 19800, 20000);
    _cleanup_free_ char *svg = print(p, "svg", &(struct spy_view){0});
    assert_in_range(strlen(svg), 100000, 999999);
    assert_non_null(strstr(svg, " needle_50\n")); // is carried, although
    assert_null(strstr(svg, "<title>needle_50")); // it is too narrow to be drawn
}

// The worst for the drawing: all as wide as the narrowest box that has to be there.
static void a_flamegraph_of_equal_frames_is_below_a_megabyte(void **state)
{
    (void)state;
    struct maker m = start();
    _cleanup_profile_ struct spy_profile *p = m.p;
    for (uint32_t i = 0; i < 2000; i++) {
        char name[32];
        uint32_t s = 0;
        snprintf(name, sizeof name, "function_%u", i);
        for (uint32_t d = 0; d < 10; d++)
            s = push(&m, s, name, "/srv/app/module.py", d + 1);
        add(&m, s, 1, 1, 0);
    }
    _cleanup_free_ char *svg = print(p, "svg", &(struct spy_view){0});
    assert_in_range(strlen(svg), 100000, 999999);
}

// What a tree is by docs: PERIOD, files, names, nodes.
static void a_flamegraph_carries_its_tree(void **state)
{
    (void)state;
    struct maker m = start();
    _cleanup_profile_ struct spy_profile *p = m.p;
    uint32_t f = push(&m, 0, "f", "/srv/app/x.py", 40);
    add(&m, f, 1, 37, 370);
    add(&m, push(&m, f, "g <&>", "/srv/app/x.py", 5), 1, 2, 20);
    add(&m, push(&m, 0, "[marker]", "", 0), 1, 1, 7);
    spy_profile_series_at(p, m.series)->period_ns = 10;
    _cleanup_free_ char *svg = print(p, "svg", &(struct spy_view){0});
    char *from = strstr(svg, "<metadata id=\"frames\">");
    assert_non_null(from);
    char *to = strstr(from, "</metadata>");
    assert_non_null(to);
    *to = 0;
    assert_string_equal(strchr(from, '>') + 1, "a\n"
                                               "app/x.py\n"
                                               "\n"
                                               "8 0 all\n"
                                               "2 0 [marker]\n"
                                               "6 1 f\n"
                                               "6 1 g &lt;&amp;&gt;\n"
                                               "\n"
                                               ",1 ,2,,1,7 1,3,14,11 ,4,5,2");
}

// The title is made of what somebody asked for.
static void a_title_is_shown_without_control_characters(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = test_profile_rich();
    struct spy_view v = {.title = "a\x7f\xc2\x9b\xe2\x80\xae"
                                  "b\x1b[31m"};
    _cleanup_free_ char *svg = print(p, "svg", &v);
    assert_non_null(strstr(svg, "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                                "b\xef\xbf\xbd[31m"));
    assert_null(strpbrk(svg, "\x7f\x1b"));
}

static uint32_t add_process(struct spy_profile *p, const char *pid, const char *parent)
{
    static const char *const keys[] = {SPY_LABEL_PID, SPY_LABEL_PARENT_PID, SPY_LABEL_COMMAND};
    const char *const values[] = {pid, parent, "x"};
    struct spy_label labels[3];
    uint32_t series;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(spy_profile_cstr(p, keys[i], &labels[i].key), 0);
        assert_int_equal(spy_profile_cstr(p, values[i], &labels[i].value), 0);
    }
    assert_int_equal(spy_profile_series(p, labels, 3, &series), 0);
    return series;
}

static void processes_stand_below_their_ancestors_if_asked_for(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    const uint32_t series[] = {add_process(p, "1", "0"), add_process(p, "2", "1"),
                               add_process(p, "3", "2"), add_process(p, "4", "99")};
    for (size_t i = 0; i < SPY_COUNT(series); i++)
        assert_int_equal(spy_profile_add(p, series[i], 0, 0, SPY_STATE_RUNNING, i + 1, 0), 0);
    assert_collapsed(p, (struct spy_view){.ancestors = true},
                     "x (1) 1\n"
                     "x (1);x worker 1 (2) 2\n"
                     "x (1);x worker 1 (2);x worker 1 (3) 3\n"
                     "x (4) 4\n");
}

static void a_cycle_of_parents_is_bounded(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    add_process(p, "2", "1");
    uint32_t series = add_process(p, "1", "2");
    assert_int_equal(spy_profile_add(p, series, 0, 0, SPY_STATE_RUNNING, 1, 0), 0);
    struct spy_view v = {.ancestors = true, .processes = SPY_PROCESSES_YES};
    _cleanup_free_ char *got = print(p, "collapsed", &v);
    assert_non_null(strstr(got, "x worker 1 (1) 1\n"));
}

RUN(T(processes_stand_below_their_ancestors_if_asked_for), T(a_cycle_of_parents_is_bounded),
    T(formats_are_found_by_each_of_their_names), T(filenames_are_shortened_for_people),
    T(views_choose_samples_by_state), T(lines_merge_or_show_the_first),
    T(processes_show_by_themselves_when_there_are_two), T(samples_without_a_frame_are_counted),
    T(unterminated_names_are_cut_and_printed), T(sums_saturate),
    T(trees_stay_consistent_whatever_is_folded), T(folding_keeps_outer_frames_of_equal_weight),
    T(the_cap_of_the_buffer_is_an_error_that_says_what_to_do),
    T(printing_does_not_change_the_profile), T(a_flamegraph_of_20000_frames_is_below_a_megabyte),
    T(a_flamegraph_of_equal_frames_is_below_a_megabyte), T(a_flamegraph_carries_its_tree),
    T(a_title_is_shown_without_control_characters))
