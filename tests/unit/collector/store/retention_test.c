// Retention: by age, by size, and what nothing refers to any more goes too; the file is bounded.
#include "kit.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOUR_S UINT64_C(3600)

static struct spy_profile *window_of(uint64_t id, uint64_t start_s, const char *pod,
                                     const char *stack)
{
    const char *pairs[] = {SPY_LABEL_POD, pod};
    struct spy_profile *p = kit_window(id, start_s, 10, 1, pairs);
    kit_sample(p, stack, 1);
    return p;
}

static void append_all(struct spy_store *s, struct spy_profile **p, size_t n)
{
    kit_append(s, p, n);
    for (size_t i = 0; i < n; i++)
        spy_profile_free(p[i]);
}

static void append_one(struct spy_store *s, struct spy_profile *p)
{
    append_all(s, &p, 1);
}

static void expire(struct spy_store *s, uint64_t now_s, uint64_t raw_s, uint64_t max_bytes)
{
    struct spy_err err = {0};
    if (spy_store_expire(s, now_s * SEC_NS, raw_s * SEC_NS, max_bytes, &err) < 0)
        fail_msg("%s", err.msg);
}

// Looks into the file with a connection of its own.
static int64_t count_rows(const char *dir, const char *table)
{
    char path[4096], sql[128];
    sqlite3 *db = NULL;
    sqlite3_stmt *q = NULL;
    snprintf(path, sizeof path, "%s/podspy.db", dir);
    snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", table);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    sqlite3_close(db);
    return n;
}

static int64_t file_size(const char *dir, const char *name)
{
    char path[4096];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return stat(path, &st) == 0 ? st.st_size : 0;
}

static void windows_over_the_age_go_and_younger_ones_stay(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 10);
    struct spy_profile *batch[1200]; // more than one part
    for (uint64_t i = 0; i < 1200; i++)
        batch[i] = window_of(i, T0 + i, "a", "main");
    append_all(s, batch, 1200);
    expire(s, T0 + 1000 + 600, 600, UINT64_MAX);
    // those that end at T0 + 1000 or later stay: i + 10 >= 1000
    assert_int_equal(kit_windows(s, NULL), 1200 - 990);
    struct spy_select all = kit_everything();
    struct spy_profile *out = kit_query(s, &all);
    assert_int_equal(spy_profile_series_get(out, 0)->start_ns, (T0 + 990) * SEC_NS);
    assert_int_equal(kit_total(out), 1200 - 990);
    assert_int_equal(count_rows(dir, "samples"), 1200 - 990);
    spy_profile_free(out);
    expire(s, 5, 600, UINT64_MAX); // an age longer than time itself
    assert_int_equal(kit_windows(s, NULL), 1200 - 990);
    kit_close(s);
    kit_remove(dir);
}

static void rows_that_only_old_windows_use_go_with_them(void **state)
{
    (void)state;
    static const char *const tables[] = {"strings", "functions", "frames", "stacks",
                                         "threads", "series",    "labels"};
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 10);
    struct spy_profile *old = window_of(1, T0, "old", "main;old;leaf");
    uint32_t name, thread;
    assert_int_equal(spy_profile_cstr(old, "old thread", &name), 0);
    assert_int_equal(spy_profile_thread(old, 7, name, &thread), 0);
    assert_int_equal(spy_profile_add(old, 0, 0, thread, 0, 1, 1), 0);
    append_one(s, old);
    append_one(s, window_of(2, T0, "new", "main;shared;leaf"));
    append_one(s, window_of(3, T0 + 2 * HOUR_S, "new", "main;shared"));
    expire(s, T0 + 2 * HOUR_S, HOUR_S, UINT64_MAX);

    // What is left is what a store has that never held anything else.
    char *other_dir = kit_folder();
    struct spy_store *other = kit_open(other_dir, 10);
    append_one(other, window_of(3, T0 + 2 * HOUR_S, "new", "main;shared"));
    for (size_t i = 0; i < SPY_COUNT(tables); i++)
        if (count_rows(dir, tables[i]) != count_rows(other_dir, tables[i]))
            fail_msg("%s: %ld rows, not %ld", tables[i], (long)count_rows(dir, tables[i]),
                     (long)count_rows(other_dir, tables[i]));
    struct spy_select all = kit_everything();
    struct spy_profile *a = kit_query(s, &all), *b = kit_query(other, &all);
    kit_assert_same(a, b);
    spy_profile_free(a);
    spy_profile_free(b);

    // And what comes back after it was swept is stored anew, whatever the caches held.
    append_one(s, window_of(4, T0 + 2 * HOUR_S, "old", "main;old;leaf"));
    append_one(other, window_of(4, T0 + 2 * HOUR_S, "old", "main;old;leaf"));
    a = kit_query(s, &all);
    b = kit_query(other, &all);
    kit_assert_same(a, b);
    spy_profile_free(a);
    spy_profile_free(b);

    expire(s, T0 + 100 * HOUR_S, HOUR_S, UINT64_MAX); // an empty store holds nothing
    for (size_t i = 0; i < SPY_COUNT(tables); i++)
        assert_int_equal(count_rows(dir, tables[i]), 0);
    append_one(s, window_of(5, T0, "old", "main;old;leaf"));
    assert_int_equal(kit_windows(s, NULL), 1);
    kit_close(s);
    kit_close(other);
    kit_remove(dir);
    kit_remove(other_dir);
}

static void a_dropped_series_makes_room_for_another(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 1);
    append_one(s, window_of(1, T0, "a", "main"));
    struct spy_profile *p = window_of(2, T0 + 2 * HOUR_S, "b", "main");
    size_t known;
    assert_int_equal(spy_store_append(s, &p, 1, &known, NULL, NULL), SPY_ERR_LIMIT);
    expire(s, T0 + 2 * HOUR_S, HOUR_S, UINT64_MAX);
    assert_int_equal(spy_store_append(s, &p, 1, &known, NULL, NULL), 0);
    spy_profile_free(p);
    kit_close(s);
    kit_remove(dir);
}

// A window with stacks, names and a pod that no other has: everything must be swept.
static struct spy_profile *unlike_all(uint64_t id, uint64_t start_s)
{
    char pod[32], stack[160];
    snprintf(pod, sizeof pod, "pod-%lu", id / 50);
    const char *pairs[] = {SPY_LABEL_POD, pod};
    struct spy_profile *p = kit_window(id, start_s, 10, 1, pairs);
    for (int i = 0; i < 20; i++) {
        snprintf(stack, sizeof stack, "main;handler_with_a_long_name_%lu;leaf_%lu_%d", id / 10, id,
                 i);
        kit_sample(p, stack, 3);
    }
    return p;
}

static void the_file_is_bounded_and_keeps_the_newest_windows(void **state)
{
    (void)state;
    enum { WINDOWS = 3000, BATCH = 50 };
    const int64_t max = 3 << 20;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 1000);
    int64_t largest = 0;
    expire(s, T0, HOUR_S, (uint64_t)max);
    for (uint64_t i = 0; i < WINDOWS; i += BATCH) { // a window a minute
        struct spy_profile *batch[BATCH];
        for (uint64_t k = 0; k < BATCH; k++)
            batch[k] = unlike_all(i + k, T0 + 60 * (i + k));
        append_all(s, batch, BATCH);
        expire(s, T0 + 60 * i, UINT32_MAX, (uint64_t)max);
        int64_t size = file_size(dir, "podspy.db");
        largest = size > largest ? size : largest;
    }
    assert_true(largest <= max);
    assert_true(largest > max / 2); // it was the bound that held it
    size_t left = kit_windows(s, NULL);
    assert_true(left > 100 && left < WINDOWS);
    struct spy_select all = kit_everything();
    struct spy_profile *out = kit_query(s, &all);
    assert_int_equal(kit_total(out), left * 60);
    uint64_t first = UINT64_MAX, last = 0;
    for (uint32_t i = 0; i < spy_profile_n_series(out); i++) {
        const struct spy_series *series = spy_profile_series_get(out, i);
        first = series->start_ns < first ? series->start_ns : first;
        last = series->start_ns + series->duration_ns > last
                   ? series->start_ns + series->duration_ns
                   : last;
    }
    assert_int_equal(first, (T0 + 60 * (WINDOWS - left)) * SEC_NS); // the oldest went, no other
    assert_int_equal(last, (T0 + 60 * (WINDOWS - 1) + 10) * SEC_NS);
    spy_profile_free(out);
    kit_close(s);
    kit_remove(dir);
}

static void the_file_shrinks_when_much_of_it_is_free(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 1000);
    struct spy_profile *batch[1000];
    for (uint64_t i = 0; i < 1000; i++)
        batch[i] = unlike_all(i, T0 + 60 * i);
    append_all(s, batch, 1000);
    kit_close(s);
    int64_t before = file_size(dir, "podspy.db");
    s = kit_open(dir, 1000);
    expire(s, T0 + 100 * HOUR_S, HOUR_S, UINT64_MAX);
    kit_close(s);
    assert_true(file_size(dir, "podspy.db") < before / 4);
    s = kit_open(dir, 1000);
    append_one(s, unlike_all(1, T0));
    assert_int_equal(kit_windows(s, NULL), 1);
    kit_close(s);
    kit_remove(dir);
}

// With a reader at work all the while, which keeps the WAL from being begun anew.
struct reader {
    struct spy_store *store;
    bool stop;
    int rounds, ended;
};

static void *read_on(void *arg)
{
    struct reader *r = arg;
    while (!spy_stop_is_set(&r->stop)) {
        struct spy_select all = kit_everything();
        struct spy_profile *out = spy_profile_new();
        int code = spy_store_query(r->store, &all, out, NULL);
        r->rounds++;
        r->ended += code == SPY_ERR_AGAIN;
        spy_profile_free(out);
    }
    return NULL;
}

static void appends_make_room_and_database_and_wal_stay_within_the_bound(void **state)
{
    (void)state;
    enum { WINDOWS = 1300 };
    const int64_t max = 4 << 20; // the WAL's half of an eighth is more than what one append changes
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 1000);
    struct reader reader = {.store = s};
    pthread_t thread;
    int64_t largest = 0;
    expire(s, T0, HOUR_S, (uint64_t)max);
    assert_int_equal(pthread_create(&thread, NULL, read_on, &reader), 0);
    for (uint64_t i = 0; i < WINDOWS; i++) { // and no expiry in between
        append_one(s, unlike_all(i, T0 + 60 * i));
        int64_t size = file_size(dir, "podspy.db") + file_size(dir, "podspy.db-wal");
        largest = size > largest ? size : largest;
    }
    spy_stop_set(&reader.stop);
    pthread_join(thread, NULL);
    print_message("largest %ld of %ld; %d questions, %d ended early\n", (long)largest, (long)max,
                  reader.rounds, reader.ended);
    assert_true(largest <= max);
    assert_true(largest > max / 2); // it was the bound that held it
    size_t left = kit_windows(s, NULL);
    assert_true(left > 100 && left < WINDOWS);
    struct spy_select newest = {.from_ns = (T0 + 60 * (WINDOWS - left)) * SEC_NS,
                                .until_ns = UINT64_MAX};
    struct spy_profile *out = kit_query(s, &newest); // the oldest went, no other
    assert_int_equal(kit_total(out), 60 * left);
    spy_profile_free(out);
    kit_close(s);
    kit_remove(dir);
}

// --- while others write and read ---

struct writer {
    struct spy_store *store;
    int result;
};

// Old and new windows mixed, so that a sweep runs while what it would take comes into use again.
static void *write_old_and_new(void *arg)
{
    struct writer *w = arg;
    uint64_t seed = 5;
    for (uint64_t i = 0; i < 400 && w->result == 0; i++) {
        struct spy_profile *p =
            unlike_all(i % 2 ? i : 100000 + i, T0 + kit_random(&seed) % (4 * HOUR_S));
        size_t known;
        w->result = spy_store_append(w->store, &p, 1, &known, NULL, NULL);
        spy_profile_free(p);
    }
    return NULL;
}

static void expiry_runs_while_others_append_and_ask(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 1000);
    struct writer w = {.store = s};
    pthread_t thread;
    pthread_create(&thread, NULL, write_old_and_new, &w);
    for (uint64_t i = 0; i < 40; i++) {
        expire(s, T0 + HOUR_S + i * HOUR_S / 10, HOUR_S, UINT64_MAX);
        struct spy_select all = kit_everything();
        struct spy_profile *out = kit_query(s, &all); // a dangling id would be an error
        assert_int_equal(kit_total(out) % 60, 0);
        spy_profile_free(out);
    }
    pthread_join(thread, NULL);
    assert_int_equal(w.result, 0);
    kit_close(s);
    kit_remove(dir);
}

RUN(T(windows_over_the_age_go_and_younger_ones_stay),
    T(rows_that_only_old_windows_use_go_with_them), T(a_dropped_series_makes_room_for_another),
    T(the_file_is_bounded_and_keeps_the_newest_windows),
    T(the_file_shrinks_when_much_of_it_is_free),
    T(appends_make_room_and_database_and_wal_stay_within_the_bound),
    T(expiry_runs_while_others_append_and_ask))
