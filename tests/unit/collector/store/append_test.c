// A window is stored once, whoever sends it and however often; bounds refuse and leave no trace.
#include "kit.h"
#include "shared/base/mem.h"
#include "tests/data/merge.h"
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct spy_profile *one(uint64_t id, const char *pod)
{
    const char *pairs[] = {SPY_LABEL_POD, pod};
    struct spy_profile *p = kit_window(id, T0 + id, 10, 1, pairs);
    kit_sample(p, "main;work", 1);
    return p;
}

static uint64_t stored(struct spy_store *s)
{
    struct spy_select all = kit_everything();
    struct spy_profile *p = kit_query(s, &all);
    uint64_t n = kit_total(p);
    spy_profile_free(p);
    return n;
}

static void a_repeated_window_is_recognized(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 10);
    struct spy_profile *p = one(1, "a"), *q = one(2, "a");
    assert_int_equal(kit_append(s, &p, 1), 0);
    assert_int_equal(kit_append(s, &p, 1), 1);
    assert_int_equal(kit_append(s, (struct spy_profile *[]){p, q}, 2), 1);
    kit_close(s);
    s = kit_open(dir, 10);
    assert_int_equal(kit_append(s, (struct spy_profile *[]){p, q}, 2), 2);
    assert_int_equal(stored(s), 2);
    spy_profile_free(p);
    spy_profile_free(q);
    kit_close(s);
    kit_remove(dir);
}

static void a_window_twice_in_one_batch_is_stored_once(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 10);
    struct spy_profile *p = one(1, "a"), *q = one(1, "b"); // the id decides, not the labels
    assert_int_equal(kit_append(s, (struct spy_profile *[]){p, p, q}, 3), 2);
    assert_int_equal(stored(s), 1);
    spy_profile_free(p);
    spy_profile_free(q);
    kit_close(s);
    kit_remove(dir);
}

// --- many at once ---

enum { APPENDERS = 8, ROUNDS = 30, IDS = 60 };

struct appender {
    pthread_t thread;
    struct spy_store *store;
    uint64_t seed;
    size_t sent, known;
    int failed;
};

// Random batches of two of few ids, so that most are sent by several threads at the same time.
static void *append_some(void *arg)
{
    struct appender *a = arg;
    for (int i = 0; i < ROUNDS && !a->failed; i++) {
        uint64_t first = kit_random(&a->seed) % IDS, second = kit_random(&a->seed) % IDS;
        struct spy_profile *batch[] = {one(first, first % 2 ? "a" : "b"),
                                       one(second, second % 2 ? "a" : "b")};
        size_t known = 0;
        a->failed = spy_store_append(a->store, batch, 2, &known, NULL, NULL);
        a->sent += 2;
        a->known += known;
        spy_profile_free(batch[0]);
        spy_profile_free(batch[1]);
    }
    return NULL;
}

struct reader {
    struct spy_store *store;
    bool stop;
    uint64_t reads;
    const char *wrong;
};

// What is stored never gets less, and a question never sees half a batch's window.
static void *read_meanwhile(void *arg)
{
    struct reader *r = arg;
    uint64_t last = 0;
    struct spy_select all = kit_everything();
    while (!__atomic_load_n(&r->stop, __ATOMIC_ACQUIRE) && !r->wrong) {
        struct spy_profile *p = spy_profile_new();
        if (spy_store_query(r->store, &all, p, NULL) < 0)
            r->wrong = "a query failed";
        uint64_t now = kit_total(p);
        if (now < last)
            r->wrong = "a window went away";
        last = now;
        r->reads++;
        spy_profile_free(p);
    }
    return NULL;
}

static void eight_appenders_and_two_readers_at_once(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 10);
    struct appender a[APPENDERS] = {0};
    struct reader readers[2] = {{.store = s}, {.store = s}};
    pthread_t reading[2];
    size_t sent = 0, known = 0;
    for (int i = 0; i < 2; i++)
        pthread_create(&reading[i], NULL, read_meanwhile, &readers[i]);
    for (int i = 0; i < APPENDERS; i++) {
        a[i] = (struct appender){.store = s, .seed = (uint64_t)i + 1};
        pthread_create(&a[i].thread, NULL, append_some, &a[i]);
    }
    for (int i = 0; i < APPENDERS; i++) {
        pthread_join(a[i].thread, NULL);
        assert_int_equal(a[i].failed, 0);
        sent += a[i].sent;
        known += a[i].known;
    }
    for (int i = 0; i < 2; i++) {
        __atomic_store_n(&readers[i].stop, true, __ATOMIC_RELEASE);
        pthread_join(reading[i], NULL);
        assert_null(readers[i].wrong);
        assert_true(readers[i].reads > 0);
    }
    assert_int_equal(stored(s), sent - known); // each id once
    assert_true(sent - known <= IDS);
    size_t processes;
    assert_int_equal(kit_windows(s, &processes), sent - known);
    assert_int_equal(processes, 2);
    kit_close(s);
    kit_remove(dir);
}

// --- bounds ---

static void a_series_over_the_limit_is_refused_and_not_stored(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 2);
    struct spy_profile *p[] = {one(1, "a"), one(2, "b"), one(3, "c"), one(4, "a")};
    struct spy_err err = {0};
    size_t known = 77;
    kit_append(s, p, 2);
    // Also what stood before it in its batch goes; and the caches must not hold its ids after that.
    struct spy_profile *batch[] = {p[3], p[2]};
    kit_sample(p[3], "new;names", 1);
    assert_int_equal(spy_store_append(s, batch, 2, &known, NULL, &err), SPY_ERR_LIMIT);
    assert_non_null(strstr(err.msg, "series"));
    assert_int_equal(known, 77);
    assert_int_equal(stored(s), 2);
    assert_int_equal(spy_store_check(s, &err), 0); // known series are taken
    assert_int_equal(kit_append(s, &p[3], 1), 0);
    assert_int_equal(stored(s), 4);
    struct spy_profile *expected = spy_profile_new();
    for (size_t i = 0; i < SPY_COUNT(p); i++)
        if (i != 2)
            assert_int_equal(merge_profiles(expected, p[i]), 0);
    struct spy_select all = kit_everything();
    struct spy_profile *got = kit_query(s, &all);
    kit_assert_same(expected, got);
    spy_profile_free(got);
    spy_profile_free(expected);
    for (size_t i = 0; i < SPY_COUNT(p); i++)
        spy_profile_free(p[i]);
    kit_close(s);
    s = kit_open(dir, 2); // the count is of what is stored, not of this run
    struct spy_profile *again = one(5, "d");
    assert_int_equal(spy_store_append(s, &again, 1, &known, NULL, &err), SPY_ERR_LIMIT);
    spy_profile_free(again);
    kit_close(s);
    kit_remove(dir);
}

struct refused {
    struct spy_store *store;
    int result;
};

static void *append_refused(void *arg)
{
    struct refused *r = arg;
    struct spy_profile *p = one(1000, "one too many");
    size_t known;
    for (int i = 0; i < ROUNDS && (i == 0 || r->result == SPY_ERR_LIMIT); i++)
        r->result = spy_store_append(r->store, &p, 1, &known, NULL, NULL);
    spy_profile_free(p);
    return NULL;
}

static void a_refused_batch_leaves_the_others_of_its_group(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 2);
    struct spy_profile *p[] = {one(500, "a"), one(501, "b")};
    kit_append(s, p, 2);
    struct appender a[APPENDERS];
    struct refused refused[2] = {{.store = s}, {.store = s}};
    pthread_t refusing[2];
    size_t sent = 2, known = 0;
    for (int i = 0; i < 2; i++)
        pthread_create(&refusing[i], NULL, append_refused, &refused[i]);
    for (int i = 0; i < APPENDERS; i++) {
        a[i] = (struct appender){.store = s, .seed = (uint64_t)i + 100};
        pthread_create(&a[i].thread, NULL, append_some, &a[i]);
    }
    for (int i = 0; i < APPENDERS; i++) {
        pthread_join(a[i].thread, NULL);
        assert_int_equal(a[i].failed, 0);
        sent += a[i].sent;
        known += a[i].known;
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(refusing[i], NULL);
        assert_int_equal(refused[i].result, SPY_ERR_LIMIT);
    }
    assert_int_equal(stored(s), sent - known);
    for (size_t i = 0; i < SPY_COUNT(p); i++)
        spy_profile_free(p[i]);
    kit_close(s);
    kit_remove(dir);
}

static void values_that_cannot_be_stored_are_invalid(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 2);
    size_t known;
    struct spy_err err = {0};
    struct spy_profile *p = one(1, "a");
    memset(spy_profile_series_at(p, 0)->profile_id, 0, 16);
    assert_int_equal(spy_store_append(s, &p, 1, &known, NULL, &err), SPY_ERR_INVALID);
    assert_non_null(strstr(err.msg, "profile_id"));
    spy_profile_free(p);

    p = spy_profile_new();
    assert_int_equal(spy_store_append(s, &p, 1, &known, NULL, &err), SPY_ERR_INVALID);
    spy_profile_free(p);

    char *big = malloc(100001);
    memset(big, 'x', 100000);
    big[100000] = 0;
    p = one(1, big);
    assert_int_equal(spy_store_append(s, &p, 1, &known, NULL, &err), SPY_ERR_INVALID);
    assert_non_null(strstr(err.msg, "labels"));
    spy_profile_free(p);
    free(big);

    assert_int_equal(stored(s), 0);
    assert_int_equal(spy_store_check(s, &err), 0);
    kit_close(s);
    kit_remove(dir);
}

static void a_stack_of_any_depth_is_stored(void **state)
{
    (void)state;
    enum { DEPTH = 20000 };
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 2);
    struct spy_profile *p = one(1, "a");
    uint32_t name, function, at = 0, frame;
    assert_int_equal(spy_profile_cstr(p, "f", &name), 0);
    assert_int_equal(spy_profile_function(p, &(struct spy_function){.name = name}, &function), 0);
    for (uint32_t i = 0; i < DEPTH; i++) {
        assert_int_equal(spy_profile_frame(p, (struct spy_frame){function, i % 9}, &frame), 0);
        assert_int_equal(spy_profile_stack(p, at, frame, &at), 0);
    }
    assert_int_equal(spy_profile_add(p, 0, at, 0, 0, 1, 0), 0);
    kit_append(s, &p, 1);
    struct spy_select all = kit_everything();
    struct spy_profile *out = kit_query(s, &all);
    assert_int_equal(spy_profile_n_stacks(out), spy_profile_n_stacks(p));
    spy_profile_free(out);
    spy_profile_free(p);
    kit_close(s);
    kit_remove(dir);
}

// Says of the first window that it holds so many more samples than it does: millions of real ones
// take minutes under a sanitizer.
static void claim_rows(const char *dir, int64_t rows)
{
    char path[4096], sql[128];
    sqlite3 *db = NULL;
    snprintf(path, sizeof path, "%s/podspy.db", dir);
    snprintf(sql, sizeof sql, "UPDATE windows SET rows = %ld WHERE id = 1", (long)rows);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void too_many_samples_to_merge_are_refused(void **state)
{
    (void)state;
    if (!kit_is_sqlite()) {
        print_message(
            "skipped: it edits SQLite's file; clickhouse_test.c has the same for rows_max\n");
        skip();
    }
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 2);
    struct spy_profile *p[] = {one(0, "a"), one(60, "a")};
    for (uint32_t t = 1; t <= 2000; t++) {
        uint32_t thread;
        assert_int_equal(spy_profile_thread(p[0], t, 0, &thread), 0);
        assert_int_equal(spy_profile_add(p[0], 0, 0, thread, 0, 1, 5), 0);
    }
    kit_append(s, p, 2);
    struct spy_select select = kit_everything();
    struct spy_err err = {0};
    struct spy_profile *out = spy_profile_new();
    // Two windows and one sample of the second come on top of what the first one claims.
    claim_rows(dir, SPY_STORE_READ_MAX - 3);
    assert_int_equal(spy_store_query(s, &select, out, &err), 0);
    assert_int_equal(spy_profile_n_samples(out), 2001);
    claim_rows(dir, SPY_STORE_READ_MAX - 2);
    assert_int_equal(spy_store_query(s, &select, out, &err), SPY_ERR_LIMIT);
    assert_non_null(strstr(err.msg, "narrow"));
    select.from_ns = (T0 + 30) * SEC_NS;
    assert_int_equal(spy_store_query(s, &select, out, &err), 0);
    spy_profile_free(out);

    claim_rows(dir, 2001);
    select = kit_everything();
    out = spy_profile_new_capped(&(struct spy_profile_caps){.samples = 1000});
    assert_int_equal(spy_store_query(s, &select, out, &err), SPY_ERR_LIMIT);
    assert_non_null(strstr(err.msg, "narrow"));
    spy_profile_free(out);
    spy_profile_free(p[0]);
    spy_profile_free(p[1]);
    kit_close(s);
    kit_remove(dir);
}

RUN(T(a_repeated_window_is_recognized), T(a_window_twice_in_one_batch_is_stored_once),
    T(eight_appenders_and_two_readers_at_once),
    T(a_series_over_the_limit_is_refused_and_not_stored),
    T(a_refused_batch_leaves_the_others_of_its_group), T(values_that_cannot_be_stored_are_invalid),
    T(a_stack_of_any_depth_is_stored), T(too_many_samples_to_merge_are_refused))
