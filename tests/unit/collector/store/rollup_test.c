// Roll-ups: every total is that of the windows they were made from, whatever was dropped, however
// late a window came, and whenever the collector was killed.
#include "kit.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "tests/data/merge.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOUR_S UINT64_C(3600)
#define DAY_S  (24 * HOUR_S)
static const struct spy_store_levels levels = {7 * DAY_S * SEC_NS, 90 * DAY_S *SEC_NS};

static struct spy_store *open_with_levels(const char *dir)
{
    struct spy_store *s = kit_open(dir, 1000);
    spy_store_keep(s, &levels);
    return s;
}

static void expire(struct spy_store *s, uint64_t now_s, uint64_t raw_s)
{
    struct spy_err err = {0};
    if (spy_store_expire(s, now_s * SEC_NS, raw_s * SEC_NS, UINT64_MAX, &err) < 0)
        fail_msg("%s", err.msg);
}

// A window of one of four processes with all that is summed: states, threads, quality, accounts.
static struct spy_profile *full_window(uint64_t id, uint64_t start_s, uint64_t *seed)
{
    char pid[8];
    static const char *const stacks[] = {"main;work", "main;work;deep", "main;idle", "boot"};
    static const uint32_t states[] = {0, SPY_STATE_RUNNING, SPY_STATE_RUNNING | SPY_STATE_GIL_HOLDS,
                                      SPY_STATE_RUNNABLE, SPY_STATE_GIL_WAITS};
    snprintf(pid, sizeof pid, "%u", (unsigned)(kit_random(seed) % 4));
    struct spy_profile *p =
        kit_window(id, start_s, 1 + kit_random(seed) % 20, 1, (const char *[]){SPY_LABEL_PID, pid});
    struct spy_series *s = spy_profile_series_at(p, 0);
    s->period_ns = 10000000;
    s->quality = (struct spy_quality){kit_random(seed) % 1000, 1, 2, 3, kit_random(seed) % 9, 4};
    for (int c = 0; c < SPY_COUNTERS; c++)
        if (kit_random(seed) % 3)
            s->account.counted[c] = (struct spy_counted){kit_random(seed) % SEC_NS, s->duration_ns};
    for (int i = 0; i < 6; i++) {
        uint32_t name = 0, thread = 0, stack, n = spy_profile_n_stacks(p);
        kit_sample(p, stacks[kit_random(seed) % SPY_COUNT(stacks)], 1);
        stack = spy_profile_n_stacks(p) > n ? spy_profile_n_stacks(p) - 1 : 1;
        assert_int_equal(spy_profile_cstr(p, i % 2 ? "worker" : "main", &name), 0);
        assert_int_equal(spy_profile_thread(p, 100 + kit_random(seed) % 3, name, &thread), 0);
        uint64_t count = 1 + kit_random(seed) % 9;
        assert_int_equal(spy_profile_add(p, 0, stack, thread,
                                         states[kit_random(seed) % SPY_COUNT(states)], count,
                                         count * s->period_ns),
                         0);
    }
    spy_profile_note_seen(p);
    return p;
}

static struct spy_profile *new_truth(void)
{
    struct spy_profile *p = spy_profile_new();
    assert_non_null(p);
    return p;
}

// Appends a window and adds it to the truth.
static void add_full(struct spy_store *s, struct spy_profile *truth, uint64_t id, uint64_t start_s,
                     uint64_t *seed)
{
    struct spy_profile *p = full_window(id, start_s, seed);
    assert_int_equal(kit_append(s, &p, 1), 0);
    assert_int_equal(merge_profiles(truth, p), 0);
    spy_profile_free(p);
}

static void assert_answers(struct spy_store *s, const struct spy_profile *truth, size_t windows)
{
    static const uint64_t steps[] = {15, 7 * 60 + 1, HOUR_S, 7 * HOUR_S + 1, 100000 * DAY_S};
    struct spy_select all = kit_everything(), near = {.from_ns = (T0 - 4 * DAY_S) * SEC_NS,
                                                      .until_ns = (T0 + DAY_S) * SEC_NS};
    struct spy_profile *out = kit_query(s, &all);
    kit_assert_same(truth, out);
    assert_int_equal(kit_windows(s, NULL), windows);
    for (size_t i = 0; i < SPY_COUNT(steps); i++)
        assert_in_range(kit_assert_windows(s, &near, steps[i] * SEC_NS, truth), 1, windows);
    spy_profile_free(out);
}

static void every_level_sums_up_to_the_truth(void **state)
{
    (void)state;
    enum { WINDOWS = 400, LATE = 60 };
    char *dir = kit_folder();
    struct spy_store *s = open_with_levels(dir);
    struct spy_profile *truth = new_truth();
    uint64_t seed = 4;
    for (uint64_t i = 0; i < WINDOWS; i++) {
        add_full(s, truth, i, T0 + kit_random(&seed) % (5 * HOUR_S), &seed);
        if (i % 70 == 69)
            expire(s, T0 + 6 * HOUR_S, 100 * DAY_S); // rolled up in several parts, nothing dropped
    }
    assert_answers(s, truth, WINDOWS);
    expire(s, T0 + 6 * HOUR_S, 2 * HOUR_S); // windows are dropped: minutes stand for them
    assert_answers(s, truth, WINDOWS);
    for (uint64_t i = 0; i < LATE; i++) // days late, into minutes and hours that are there and not
        add_full(s, truth, WINDOWS + i, T0 - DAY_S * 3 + i % 2 * 3 * DAY_S + i * 60, &seed);
    assert_answers(s, truth, WINDOWS + LATE);
    expire(s, T0 + 6 * HOUR_S, HOUR_S);
    assert_answers(s, truth, WINDOWS + LATE);
    expire(s, T0 + 8 * DAY_S, HOUR_S); // minutes are dropped too: hours stand for them
    assert_answers(s, truth, WINDOWS + LATE);
    kit_close(s);
    s = open_with_levels(dir);
    assert_answers(s, truth, WINDOWS + LATE);
    struct spy_err err = {0};
    if (spy_store_verify(s, 0, &err) < 0)
        fail_msg("%s", err.msg);
    expire(s, T0 + 100 * DAY_S, HOUR_S); // and at last hours
    assert_int_equal(kit_windows(s, NULL), 0);
    kit_close(s);
    spy_profile_free(truth);
    kit_remove(dir);
}

// While the windows are there, a question is answered as if there were no roll-ups, wherever the
// edges of its time lie.
static void any_time_selects_the_same_with_and_without_roll_ups(void **state)
{
    (void)state;
    enum { WINDOWS = 300 };
    char *dirs[] = {kit_folder(), kit_folder()};
    struct spy_store *with = open_with_levels(dirs[0]), *without = kit_open(dirs[1], 1000);
    struct spy_profile *truth = new_truth();
    uint64_t seed = 8, other = 8;
    for (uint64_t i = 0; i < WINDOWS; i++) {
        add_full(with, truth, i, T0 + i * 30 + i % 7, &seed);
        add_full(without, truth, i, T0 + i * 30 + i % 7, &other);
        if (i % 90 == 89)
            expire(with, T0 + i * 30, DAY_S);
    }
    for (uint64_t i = 0; i < kit_rounds(200); i++) {
        uint64_t from = T0 + kit_random(&seed) % 9000, length = 1 + kit_random(&seed) % 9000;
        struct spy_select select = {.from_ns = from * SEC_NS, .until_ns = (from + length) * SEC_NS};
        if (i % 3 == 0)
            select.terms[select.n++] = (struct spy_select_term){{SPY_LABEL_PID}, "2"};
        struct spy_profile *a = kit_query(with, &select), *b = kit_query(without, &select);
        kit_assert_same(b, a);
        uint64_t step = (1 + kit_random(&seed) % 2000) * SEC_NS;
        assert_in_range(kit_assert_windows(with, &select, step, b), 0,
                        kit_assert_windows(without, &select, step, b));
        spy_profile_free(a);
        spy_profile_free(b);
    }
    kit_close(with);
    kit_close(without);
    spy_profile_free(truth);
    kit_remove(dirs[0]);
    kit_remove(dirs[1]);
}

static void a_window_that_was_dropped_is_still_known(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = open_with_levels(dir);
    uint64_t seed = 6, again = 6;
    struct spy_profile *p = full_window(1, T0, &seed), *same = full_window(1, T0, &again);
    assert_int_equal(kit_append(s, &p, 1), 0);
    expire(s, T0 + DAY_S, HOUR_S);
    assert_int_equal(kit_append(s, &same, 1), 1);
    kit_close(s);
    s = open_with_levels(dir);
    assert_int_equal(kit_append(s, &same, 1), 1);
    assert_int_equal(kit_windows(s, NULL), 1);
    kit_close(s);
    spy_profile_free(p);
    spy_profile_free(same);
    kit_remove(dir);
}

static void a_small_bound_drops_windows_before_roll_ups(void **state)
{
    (void)state;
    enum { WINDOWS = 1500 };
    const uint64_t bound = UINT64_C(6) << 20;
    if (!kit_is_sqlite()) {
        print_message("skipped: ClickHouse drops whole days; clickhouse_test.c has that\n");
        skip();
    }
    char *dir = kit_folder();
    struct spy_store *s = open_with_levels(dir);
    size_t known;
    struct spy_err err = {0};
    for (uint64_t i = 0; i < WINDOWS; i++) {
        struct spy_profile *p =
            kit_window(i, T0 + i * 10, 10, 1, (const char *[]){SPY_LABEL_POD, "a"});
        for (int k = 0; k < 300; k++) {
            char stack[64];
            snprintf(stack, sizeof stack, "main;handler;leaf_%d", k);
            kit_sample(p, stack, 1 + i % 1000);
        }
        if (spy_store_append(s, &p, 1, &known, NULL, &err) < 0)
            fail_msg("%s", err.msg);
        spy_profile_free(p);
        if (i % 100 == 99 &&
            spy_store_expire(s, (T0 + i * 10) * SEC_NS, DAY_S * SEC_NS, bound, &err) < 0)
            fail_msg("%s", err.msg);
    }
    assert_int_equal(kit_windows(s, NULL), WINDOWS); // windows went, and roll-ups stand for them
    kit_close(s);
    kit_remove(dir);
}

static void without_levels_the_roll_ups_go_and_come_back(void **state)
{
    (void)state;
    enum { WINDOWS = 90 };
    char *dir = kit_folder();
    struct spy_store *s = open_with_levels(dir);
    struct spy_profile *truth = new_truth();
    uint64_t seed = 3;
    for (uint64_t i = 0; i < WINDOWS; i++)
        add_full(s, truth, i, T0 + i * 100, &seed);
    expire(s, T0 + 3 * HOUR_S, DAY_S);
    kit_close(s);
    s = kit_open(dir, 1000);
    expire(s, T0 + 3 * HOUR_S, DAY_S);
    assert_answers(s, truth, WINDOWS);
    kit_close(s);
    s = open_with_levels(dir);
    expire(s, T0 + 3 * HOUR_S, DAY_S);
    assert_answers(s, truth, WINDOWS);
    expire(s, T0 + 2 * DAY_S, HOUR_S);
    assert_answers(s, truth, WINDOWS);
    kit_close(s);
    s = kit_open(dir, 1000);
    expire(s, T0 + 2 * DAY_S, HOUR_S);
    assert_int_equal(kit_windows(s, NULL), 0);
    kit_close(s);
    spy_profile_free(truth);
    kit_remove(dir);
}

// --- killed ---

enum { BATCH = 4, ROUNDS = 12, IDS = 1 << 16 };

static void push_batch(struct spy_store *s, uint64_t first)
{
    struct spy_profile *batch[BATCH];
    size_t known;
    for (uint64_t i = 0; i < BATCH; i++) {
        uint64_t id = first + i;
        batch[i] = kit_window(id, T0 + id % 977 * 13, 10, 1,
                              (const char *[]){SPY_LABEL_POD, id % 2 ? "a" : "b"});
        kit_sample(batch[i], id % 3 ? "main;work" : "main;idle", 1);
    }
    if (spy_store_append(s, batch, BATCH, &known, NULL, NULL) < 0)
        _exit(2);
    for (size_t i = 0; i < BATCH; i++)
        spy_profile_free(batch[i]);
}

// Sends again what may or may not have been stored when it was killed, and goes on from there.
static _Noreturn void child(const char *dir, int to, uint64_t next)
{
    struct spy_store *s = open_with_levels(dir);
    for (uint64_t i = 0;; i++, next += BATCH) {
        push_batch(s, next);
        if (write(to, &next, sizeof next) != sizeof next)
            _exit(3);
        if (i % 8 == 7 &&
            spy_store_expire(s, (T0 + 20000) * SEC_NS, i % 16 == 7 ? 0 : 100 * DAY_S * SEC_NS,
                             UINT64_MAX, NULL) < 0)
            _exit(4);
    }
}

static uint64_t run_until_killed(const char *dir, uint64_t next, uint64_t *seed)
{
    int fds[2], status;
    uint64_t acked;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        close(fds[0]);
        child(dir, fds[1], next);
    }
    close(fds[1]);
    for (uint64_t n = 10 + kit_random(seed) % 60; n-- && read(fds[0], &acked, sizeof acked) > 0;)
        next = acked + BATCH;
    usleep((useconds_t)(kit_random(seed) % 3000)); // somewhere in what follows
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    while (read(fds[0], &acked, sizeof acked) == sizeof acked)
        next = acked + BATCH;
    close(fds[0]);
    return next;
}

static void a_kill_in_a_roll_up_loses_and_doubles_nothing(void **state)
{
    (void)state;
    char *dir = kit_folder();
    uint64_t seed = spy_clock_real_ns(), next = 0;
    printf("seed %lu\n", seed);
    const uint64_t rounds = kit_rounds(ROUNDS);
    for (uint64_t i = 0; i < rounds; i++) {
        next = run_until_killed(dir, next, &seed);
        struct spy_store *s = open_with_levels(dir);
        push_batch(s, next); // perhaps again
        next += BATCH;
        for (int raw = 0; raw < 2; raw++) {
            struct spy_select all = kit_everything();
            struct spy_profile *out = kit_query(s, &all);
            struct spy_err err = {0};
            assert_int_equal(kit_total(out), next);
            assert_int_equal(kit_windows(s, NULL), next);
            spy_profile_free(out);
            if (spy_store_verify(s, 0, &err) < 0)
                fail_msg("%s", err.msg);
            expire(s, T0 + 20000, raw ? 0 : 100 * DAY_S);
        }
        kit_close(s);
    }
    printf("%lu windows, %lu kills\n", next, rounds);
    kit_remove(dir);
}

RUN(T(every_level_sums_up_to_the_truth), T(any_time_selects_the_same_with_and_without_roll_ups),
    T(a_window_that_was_dropped_is_still_known), T(a_small_bound_drops_windows_before_roll_ups),
    T(without_levels_the_roll_ups_go_and_come_back),
    T(a_kill_in_a_roll_up_loses_and_doubles_nothing))
