// What comes out is what went in: merged as merge_profiles does, selected by labels and time.
#include "kit.h"
#include "shared/base/mem.h"
#include "tests/data/merge.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void a_window_is_read_as_it_was_stored(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < kit_rounds(60); i++) {
        uint64_t seed = 1000 + i;
        char *dir = kit_folder();
        struct spy_store *s = kit_open(dir, 10);
        struct spy_profile *in = kit_random_window(i, &seed);
        assert_int_equal(kit_append(s, &in, 1), 0);
        struct spy_select all = kit_everything();
        struct spy_profile *out = kit_query(s, &all);
        kit_assert_same(in, out);
        assert_int_equal(kit_assert_windows(s, &all, 15 * SEC_NS, in), 1);
        spy_profile_free(out);
        spy_profile_free(in);
        kit_close(s);
        kit_remove(dir);
    }
}

static int by_end(const void *a, const void *b)
{
    const struct spy_series *x = spy_profile_series_get(*(struct spy_profile *const *)a, 0);
    const struct spy_series *y = spy_profile_series_get(*(struct spy_profile *const *)b, 0);
    uint64_t ex = x->start_ns + x->duration_ns, ey = y->start_ns + y->duration_ns;
    return ex < ey ? -1 : ex > ey;
}

// Also across closing and opening again, which empties every cache.
static void many_windows_are_read_as_their_merge(void **state)
{
    (void)state;
    enum { N = 40 };
    for (uint64_t round = 0; round < kit_rounds(12); round++) {
        uint64_t seed = 7777 + round;
        char *dir = kit_folder();
        struct spy_store *s = kit_open(dir, 100);
        struct spy_profile *in[N], *expected = spy_profile_new();
        for (size_t i = 0; i < N; i++)
            in[i] = kit_random_window(i, &seed);
        for (size_t i = 0, n; i < N; i += n) {
            n = 1 + kit_random(&seed) % (N - i);
            assert_int_equal(kit_append(s, in + i, n), 0);
            if (kit_random(&seed) % 3 == 0) {
                kit_close(s);
                s = kit_open(dir, 100);
            }
        }
        qsort(in, N, sizeof(struct spy_profile *), by_end);
        for (size_t i = 0; i < N; i++)
            assert_int_equal(merge_profiles(expected, in[i]), 0);
        struct spy_select all = kit_everything();
        struct spy_profile *out = kit_query(s, &all);
        kit_assert_same(expected, out);
        assert_int_equal(kit_assert_windows(s, &all, 15 * SEC_NS, expected), N);
        for (size_t i = 0; i < N; i++)
            spy_profile_free(in[i]);
        spy_profile_free(expected);
        spy_profile_free(out);
        kit_close(s);
        kit_remove(dir);
    }
}

static void an_answer_is_added_to_the_given_profile(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 10);
    struct spy_profile *p = kit_window(1, T0, 10, 1, (const char *[]){"k", "v"});
    kit_sample(p, "a;b", 5);
    kit_append(s, &p, 1);
    struct spy_select all = kit_everything();
    struct spy_profile *out = kit_query(s, &all);
    struct spy_err err;
    assert_int_equal(spy_store_query(s, &all, out, &err), 0);
    assert_int_equal(kit_total(out), 10);
    assert_int_equal(spy_profile_n_series(out), 1);
    spy_profile_free(out);
    spy_profile_free(p);
    kit_close(s);
    kit_remove(dir);
}

// --- selection ---

// pod, node (by either key), namespace
static const struct {
    const char *pod, *node_key, *node, *namespace;
    uint64_t start_s; // after T0; windows of 10 s
} fleet[] = {
    {"web-1", "k8s.node.name", "n1", "shop", 0},  {"web-2", "host.name", "n1", "shop", 10},
    {"api-1", "k8s.node.name", "n2", "shop", 20}, {"api-2", "host.name", "n3", "bank", 30},
    {"a[b]?", "k8s.node.name", "n4", "b_n%", 40}, {"WEB-1", "k8s.node.name", "n5", "shop", 50},
    {"", "k8s.node.name", "n6", "shop", 60},
};

struct wanted {
    const char *name;
    const char *terms[4]; // "key=value"
    uint64_t from, until; // seconds after T0
    unsigned expect;      // bit of each row of fleet
};
static const struct wanted wanted[] = {
    {"everything", {NULL}, 0, 1000, 0x7f},
    {"exact", {"pod=web-1"}, 0, 1000, 0x01},
    {"no such", {"pod=web"}, 0, 1000, 0},
    {"star at the end", {"pod=web-*"}, 0, 1000, 0x03},
    {"star in front", {"pod=*-1"}, 0, 1000, 0x25},
    {"star inside", {"pod=w*b*2"}, 0, 1000, 0x02},
    {"only star", {"pod=*"}, 0, 1000, 0x7f},
    {"an empty value", {"pod="}, 0, 1000, 0x40},
    {"no other wildcards: brackets", {"pod=a[b]*"}, 0, 1000, 0x10},
    {"no other wildcards: question mark", {"pod=api?1*"}, 0, 1000, 0},
    {"no other wildcards: sql", {"namespace=b_n%*"}, 0, 1000, 0x10},
    {"quotes are text", {"pod=' OR 1=1 --"}, 0, 1000, 0},
    {"same key is or", {"pod=web-1", "pod=api-*"}, 0, 1000, 0x0d},
    {"different keys are and", {"pod=*-2", "namespace=shop"}, 0, 1000, 0x02},
    {"or and and", {"pod=web-2", "pod=api-2", "namespace=bank"}, 0, 1000, 0x08},
    {"either key holds it", {"node=n1"}, 0, 1000, 0x03},
    {"either key holds it, glob", {"node=n*", "pod=api-2"}, 0, 1000, 0x08},
    {"time overlaps", {NULL}, 15, 25, 0x06},
    {"the end is not in it", {NULL}, 0, 10, 0x01},
    {"the beginning of the question is after the end of the window", {NULL}, 10, 11, 0x02},
    {"time and label", {"namespace=shop"}, 25, 100, 0x64},
    {"nothing so late", {NULL}, 500, 600, 0},
};

static void add_term(struct spy_select *s, char *term)
{
    struct spy_select_term *t = &s->terms[s->n++];
    char *value = strchr(term, '=');
    *value++ = 0;
    t->value = value;
    t->keys[0] = !strcmp(term, "pod")    ? SPY_LABEL_POD
                 : !strcmp(term, "node") ? SPY_LABEL_NODE
                                         : SPY_LABEL_NAMESPACE;
    if (!strcmp(term, "node"))
        t->keys[1] = SPY_LABEL_HOST;
}

static void a_selection_finds_exactly_the_windows_it_names(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 100);
    for (size_t i = 0; i < SPY_COUNT(fleet); i++) {
        const char *pairs[] = {SPY_LABEL_POD, fleet[i].pod,        fleet[i].node_key,
                               fleet[i].node, SPY_LABEL_NAMESPACE, fleet[i].namespace};
        struct spy_profile *p = kit_window(i, T0 + fleet[i].start_s, 10, 3, pairs);
        kit_sample(p, "main", 1ull << i);
        kit_append(s, &p, 1);
        spy_profile_free(p);
    }
    for (size_t i = 0; i < SPY_COUNT(wanted); i++) {
        const struct wanted *w = &wanted[i];
        struct spy_select select = {.from_ns = (T0 + w->from) * SEC_NS,
                                    .until_ns = (T0 + w->until) * SEC_NS};
        char *terms[4] = {0};
        for (size_t k = 0; k < 4 && w->terms[k]; k++) {
            terms[k] = strdup(w->terms[k]);
            add_term(&select, terms[k]);
        }
        struct spy_profile *out = kit_query(s, &select);
        if (kit_total(out) != w->expect)
            fail_msg("%s: found %#lx, not %#x", w->name, kit_total(out), w->expect);
        kit_assert_windows(s, &select, 15 * SEC_NS, out);
        spy_profile_free(out);
        for (size_t k = 0; k < 4; k++)
            free(terms[k]);
    }
    kit_close(s);
    kit_remove(dir);
}

static void a_window_without_length_is_an_instant(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 100);
    struct spy_profile *p = kit_window(1, T0, 0, 1, (const char *[]){"k", "v"});
    kit_sample(p, "main", 1);
    kit_append(s, &p, 1);
    const struct {
        uint64_t from, until;
        uint64_t expect;
    } rows[] = {{T0, T0 + 1, 1}, {T0 - 1, T0, 0}, {T0 + 1, T0 + 2, 0}, {T0 - 1, T0 + 1, 1}};
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        struct spy_select select = {.from_ns = rows[i].from * SEC_NS,
                                    .until_ns = rows[i].until * SEC_NS};
        struct spy_profile *out = kit_query(s, &select);
        assert_int_equal(kit_total(out), rows[i].expect);
        spy_profile_free(out);
    }
    spy_profile_free(p);
    kit_close(s);
    kit_remove(dir);
}

// --- processes ---

static void note_process(void *arg, const struct spy_store_process *p)
{
    struct spy_buf *b = arg;
    spy_buf_printf(b, "%s %lu-%lu /%lu windows=%lu samples=%lu clean=%lu late=%lu", p->labels_json,
                   p->first_ns / SEC_NS - T0, p->last_ns / SEC_NS - T0, p->period_ns, p->windows,
                   p->samples, p->quality.clean, p->quality.late);
    for (size_t i = 0; i < p->n_threads; i++)
        spy_buf_printf(b, " %lu=%s", p->threads[i].tid, p->threads[i].name);
    spy_buf_puts(b, "\n");
}

static void add_thread_sample(struct spy_profile *p, uint64_t tid, const char *name)
{
    uint32_t text, thread;
    assert_int_equal(spy_profile_cstr(p, name, &text), 0);
    assert_int_equal(spy_profile_thread(p, tid, text, &thread), 0);
    assert_int_equal(spy_profile_add(p, 0, 0, thread, 0, 2, 3), 0);
}

static void a_process_is_listed_once_with_its_sums_and_latest_threads(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 100);
    struct spy_profile *p[4];
    for (size_t i = 0; i < 4; i++) {
        const char *pairs[] = {"pod", i == 3 ? "q\"" : "p", "z", "1"};
        p[i] = kit_window(i, T0 + 10 * i, 10, 2, pairs);
        struct spy_series *series = spy_profile_series_at(p[i], 0);
        series->quality = (struct spy_quality){.clean = 10 + i, .late = 1};
        series->period_ns = 1000 + i;
        add_thread_sample(p[i], 100 + i, "first");
        add_thread_sample(p[i], 200 + i, "second");
    }
    kit_append(s, p, 4);
    struct spy_buf got = SPY_BUF_INIT(4096);
    struct spy_select select = {.from_ns = (T0 + 10) * SEC_NS, .until_ns = UINT64_MAX};
    struct spy_err err;
    assert_int_equal(spy_store_processes(s, &select, note_process, &got, &err), 0);
    assert_string_equal(
        spy_buf_str(&got),
        "{\"pod\": \"q\\\"\", \"z\": \"1\"} 30-40 /1003 windows=1 samples=4 clean=13 late=1"
        " 103=first 203=second\n"
        "{\"pod\": \"p\", \"z\": \"1\"} 10-30 /1002 windows=2 samples=8 clean=23 late=2"
        " 102=first 202=second\n");
    spy_buf_free(&got);
    for (size_t i = 0; i < 4; i++)
        spy_profile_free(p[i]);
    kit_close(s);
    kit_remove(dir);
}

static void a_process_without_samples_is_listed_too(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 100);
    const char *pairs[] = {SPY_LABEL_PROBLEM, "not Python"};
    struct spy_profile *p = kit_window(1, T0, 10, 1, pairs);
    spy_profile_series_at(p, 0)->quality.failed = UINT64_MAX; // sums must not trip over it
    kit_append(s, &p, 1);
    kit_id(2, spy_profile_series_at(p, 0)->profile_id);
    kit_append(s, &p, 1);
    size_t processes;
    assert_int_equal(kit_windows(s, &processes), 2);
    assert_int_equal(processes, 1);
    spy_profile_free(p);
    kit_close(s);
    kit_remove(dir);
}

RUN(T(a_window_is_read_as_it_was_stored), T(many_windows_are_read_as_their_merge),
    T(an_answer_is_added_to_the_given_profile), T(a_selection_finds_exactly_the_windows_it_names),
    T(a_window_without_length_is_an_instant),
    T(a_process_is_listed_once_with_its_sums_and_latest_threads),
    T(a_process_without_samples_is_listed_too))
