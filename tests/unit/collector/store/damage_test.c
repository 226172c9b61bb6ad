// A file that is damaged, of another program or of another version is refused with what to do; one
// that gets damaged later gives errors and never a crash.
#include "collector/store/sqlite/rows.h"
#include "kit.h"
#include "shared/base/mem.h"
#include "tests/data/merge.h"
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *db_path(const char *dir)
{
    char *path = NULL;
    assert_true(asprintf(&path, "%s/podspy.db", dir) > 0);
    return path;
}

static void write_file(const char *dir, const void *data, size_t len, off_t at)
{
    _cleanup_free_ char *path = db_path(dir);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, len, at), len);
}

static void run_sql(const char *dir, const char *sql)
{
    _cleanup_free_ char *path = db_path(dir);
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void fill(const char *dir, size_t n)
{
    struct spy_store *s = kit_open(dir, 100);
    uint64_t seed = 3;
    for (uint64_t i = 0; i < n; i++) {
        struct spy_profile *p = kit_random_window(i, &seed);
        kit_append(s, &p, 1);
        spy_profile_free(p);
    }
    kit_close(s);
}

static void assert_refused(const char *dir, const char *says, const char *advises)
{
    struct spy_store *s = NULL;
    struct spy_err err = {0};
    assert_int_equal(spy_store_open("sqlite", dir, 10, SPY_STORE_MEMORY_MAX, &s, &err),
                     SPY_ERR_INVALID);
    assert_null(s);
    if (!strstr(err.msg, says) || !strstr(err.msg, advises) || !strstr(err.msg, dir))
        fail_msg("the message is: %s", err.msg);
}

static void a_file_of_noise_is_refused(void **state)
{
    (void)state;
    char *dir = kit_folder(), noise[8192];
    uint64_t seed = 9;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)kit_random(&seed);
    write_file(dir, noise, sizeof noise, 0);
    assert_refused(dir, "damaged", "move");
    kit_remove(dir);
}

static void a_damaged_list_of_tables_is_refused(void **state)
{
    (void)state;
    char *dir = kit_folder(), noise[3000];
    fill(dir, 5);
    memset(noise, 0xa5, sizeof noise);
    write_file(dir, noise, sizeof noise, 100); // page 1 behind the header
    assert_refused(dir, "damaged", "move");
    kit_remove(dir);
}

static void a_truncated_file_is_refused_or_answers_with_an_error(void **state)
{
    (void)state;
    char *dir = kit_folder();
    fill(dir, 50);
    _cleanup_free_ char *path = db_path(dir);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size / 4096 / 2 * 4096), 0);
    struct spy_store *s = NULL;
    struct spy_err err = {0};
    struct spy_select all = kit_everything();
    struct spy_profile *p = spy_profile_new();
    if (spy_store_open("sqlite", dir, 10, SPY_STORE_MEMORY_MAX, &s, &err) == 0) {
        assert_int_equal(spy_store_query(s, &all, p, &err), SPY_ERR_IO);
        kit_close(s);
    }
    assert_non_null(strstr(err.msg, "damaged"));
    spy_profile_free(p);
    kit_remove(dir);
}

static void other_databases_and_versions_are_refused_and_left_alone(void **state)
{
    (void)state;
    char *dir = kit_folder();
    run_sql(dir, "CREATE TABLE mine(x); INSERT INTO mine VALUES(1)");
    assert_refused(dir, "another program", "move");
    run_sql(dir, "INSERT INTO mine VALUES(2)");
    kit_remove(dir);

    dir = kit_folder();
    fill(dir, 3);
    run_sql(dir, "PRAGMA user_version=5");
    assert_refused(dir, "version 5", "move");
    run_sql(dir, "PRAGMA user_version=4");
    struct spy_store *s = kit_open(dir, 10); // it was not changed
    assert_int_equal(kit_windows(s, NULL), 3);
    kit_close(s);

    run_sql(dir, "DROP TABLE stacks");
    struct spy_err err = {0};
    assert_true(spy_store_open("sqlite", dir, 10, SPY_STORE_MEMORY_MAX, &s, &err) < 0);
    assert_non_null(strstr(err.msg, "stacks"));
    kit_remove(dir);
}

// The windows of a file that the first version wrote stay as they are, and say that nothing is
// known of what the kernel counted; new ones are stored beside them.
static void a_file_of_the_first_version_is_taken_over(void **state)
{
    (void)state;
    uint64_t seed = 5;
    char *dir = kit_folder();
    fill(dir, 3);
    run_sql(dir, "ALTER TABLE windows DROP COLUMN cpu_ns;"
                 "ALTER TABLE windows DROP COLUMN runqueue_ns;"
                 "ALTER TABLE windows DROP COLUMN throttled_ns;"
                 "ALTER TABLE windows DROP COLUMN throttled_periods;"
                 "ALTER TABLE windows DROP COLUMN running_ns;"
                 "ALTER TABLE windows DROP COLUMN runnable_ns; DROP TABLE rollups;"
                 "DROP TABLE levels; DROP TABLE taken; PRAGMA user_version=1");
    struct spy_store *s = kit_open(dir, 10);
    assert_int_equal(kit_windows(s, NULL), 3);
    struct spy_select all = kit_everything();
    struct spy_profile *old = kit_query(s, &all), *in = kit_random_window(900, &seed);
    struct spy_account a;
    assert_true(kit_total(old) > 0);
    assert_int_equal(spy_profile_account(old, &a), 0);
    for (int c = 0; c < SPY_COUNTERS; c++)
        assert_false(spy_account_knows(&a, c));
    assert_true(spy_account_knows(&spy_profile_series_get(in, 0)->account, SPY_CPU));
    kit_append(s, &in, 1);
    kit_close(s);
    s = kit_open(dir, 10); // now of this version
    assert_int_equal(kit_windows(s, NULL), 4);
    struct spy_profile *out = kit_query(s, &all);
    assert_int_equal(merge_profiles(old, in), 0);
    kit_assert_same(old, out);
    kit_close(s);
    spy_profile_free(old);
    spy_profile_free(in);
    spy_profile_free(out);
    kit_remove(dir);
}

// Whatever page is overwritten: an error or an answer, and the store can be closed.
static void damage_anywhere_gives_errors_and_no_crash(void **state)
{
    (void)state;
    uint64_t seed = 11;
    char noise[512];
    for (int round = 0; round < 30; round++) {
        char *dir = kit_folder();
        fill(dir, 12);
        _cleanup_free_ char *path = db_path(dir);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        for (int i = 0; i < 6; i++) {
            for (size_t k = 0; k < sizeof noise; k++)
                noise[k] = (char)kit_random(&seed);
            uint64_t at = 4096 + kit_random(&seed) % ((uint64_t)st.st_size - 4096 - sizeof noise);
            write_file(dir, noise, 1 + kit_random(&seed) % sizeof noise, (off_t)at);
        }
        struct spy_store *s = NULL;
        struct spy_err err = {0};
        struct spy_profile *in = kit_random_window(999, &seed), *out = spy_profile_new();
        struct spy_select all = kit_everything();
        size_t known;
        if (spy_store_open("sqlite", dir, 100, SPY_STORE_MEMORY_MAX, &s, &err) == 0) {
            spy_store_query(s, &all, out, &err);
            spy_store_append(s, &in, 1, &known, NULL, &err);
            spy_store_query(s, &all, out, &err);
            spy_store_expire(s, (T0 + 500) * SEC_NS, 0, 1 << 14, &err);
            spy_store_check(s, &err);
            kit_close(s);
        }
        spy_profile_free(in);
        spy_profile_free(out);
        kit_remove(dir);
    }
}

static void contradicting_rows_are_reported_as_damage(void **state)
{
    (void)state;
    static const char *const harm[] = {
        "DELETE FROM strings WHERE id = (SELECT max(id) FROM strings)",
        "DELETE FROM stacks WHERE id = 1",
        "DELETE FROM frames",
        "DELETE FROM samples",
        "UPDATE stacks SET parent = id",       // a circle of one
        "UPDATE stacks SET parent = 9999999",  // one that would be read for ever
        "UPDATE samples SET data = x'ff0000'", // bits of no meaning
        "UPDATE samples SET data = x'0080'",   // ends in a number
        "UPDATE samples SET data = x'10ffffffffffffffffff7f00'",
    };
    for (size_t i = 0; i < SPY_COUNT(harm); i++) {
        char *dir = kit_folder();
        struct spy_store *s = kit_open(dir, 10);
        struct spy_profile *p = kit_window(1, T0, 10, 1, (const char *[]){"k", "v"});
        kit_sample(p, "a;b;c", 1);
        kit_append(s, &p, 1);
        kit_close(s);
        run_sql(dir, harm[i]);
        s = kit_open(dir, 10);
        struct spy_profile *out = spy_profile_new();
        struct spy_select all = kit_everything();
        struct spy_err err = {0};
        assert_int_equal(spy_store_query(s, &all, out, &err), SPY_ERR_IO);
        if (!strstr(err.msg, "damaged"))
            fail_msg("%s: the message is %s", harm[i], err.msg);
        spy_profile_free(p);
        spy_profile_free(out);
        kit_close(s);
        kit_remove(dir);
    }
}

static void assert_same_row(const struct spy_row *a, const struct spy_row *b)
{
    assert_int_equal(a->stack, b->stack);
    assert_int_equal(a->thread, b->thread);
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->ns, b->ns);
}

// Rows of all sizes of numbers, few and many threads: what is written is read again, in the form that
// fits, and a value that is cut anywhere is not read to its end.
static void rows_come_back_in_either_form(void **state)
{
    (void)state;
    enum { MOST = 400, PERIOD = 10000000 };
    static struct spy_row rows[MOST];
    uint64_t seed = 33;
    size_t packed = 0, plain = 0;
    for (int round = 0; round < 2000; round++) {
        size_t n = 1 + kit_random(&seed) % MOST;
        uint64_t wide = kit_random(&seed) % 62, threads = 1 + kit_random(&seed) % 90;
        for (size_t i = 0; i < n; i++) {
            static const uint32_t states[] = {0, SPY_STATE_RUNNING, SPY_STATE_RUNNABLE,
                                              SPY_STATE_RUNNING | SPY_STATE_GIL_HOLDS};
            uint64_t count = kit_random(&seed) >> (kit_random(&seed) % 8 ? 60 : 64 - 1 - wide);
            bool product = kit_random(&seed) % 4 && count < UINT64_MAX / PERIOD;
            rows[i] = (struct spy_row){(int64_t)(kit_random(&seed) >> (63 - wide)),
                                       (int64_t)(kit_random(&seed) % threads),
                                       states[kit_random(&seed) % SPY_COUNT(states)], count,
                                       product ? count * PERIOD : kit_random(&seed)};
        }
        n = spy_rows_merge(rows, n);
        _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(1 << 20);
        spy_rows_encode(rows, n, PERIOD, &out);
        *(out.data[0] == 0x80 ? &packed : &plain) += 1;
        struct spy_rows_reader r = {.at = out.data, .end = out.data + out.len, .period_ns = PERIOD};
        struct spy_row row;
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(spy_rows_next(&r, &row), 1);
            assert_same_row(&row, &rows[i]);
        }
        assert_int_equal(spy_rows_next(&r, &row), 0);
        size_t cut = kit_random(&seed) % out.len, read = 0;
        r = (struct spy_rows_reader){.at = out.data, .end = out.data + cut, .period_ns = PERIOD};
        while (spy_rows_next(&r, &row) > 0)
            read++;
        assert_true(read < n);
    }
    assert_true(packed > 200 && plain > 200);
}

// 200 stacks of 8 threads in two states, as windows have: at most 2 bytes a row.
static void a_usual_window_takes_two_bytes_a_row(void **state)
{
    (void)state;
    enum { N = 200, PERIOD = 10000000 };
    struct spy_row rows[N];
    uint64_t seed = 3;
    for (size_t i = 0; i < N; i++) {
        uint64_t count = 1 + kit_random(&seed) % 9;
        rows[i] = (struct spy_row){(int64_t)(90000 + 9 * i + kit_random(&seed) % 9),
                                   (int64_t)(500 + i % 8), i % 3 ? SPY_STATE_RUNNING : 0, count,
                                   count * PERIOD};
    }
    _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(1 << 20);
    spy_rows_encode(rows, N, PERIOD, &out);
    assert_true(out.len <= 2 * N);
}

static void random_rows_are_read_in_bounds(void **state)
{
    (void)state;
    uint64_t seed = 21;
    for (int round = 0; round < 20000; round++) {
        size_t len = kit_random(&seed) % 80;
        uint8_t *data = malloc(len + 1); // exact, so that a sanitizer sees a byte too many
        assert_non_null(data);
        for (size_t i = 0; i < len; i++)
            data[i] = (uint8_t)(kit_random(&seed) & (round % 2 ? 0x7f : 0xff));
        if (round % 3 == 0 && len > 3) // the packed form, of one or two threads
            memcpy(data, (uint8_t[]){0x80, 20, (uint8_t)(1 + round % 2)}, 3);
        struct spy_rows_reader reader = {
            .at = data, .end = data + len, .period_ns = kit_random(&seed)};
        struct spy_row row;
        size_t n = 0;
        while (spy_rows_next(&reader, &row) > 0) {
            assert_true(row.stack >= 0 && row.thread >= 0 && spy_state_is_valid(row.state));
            n++;
        }
        assert_true(n <= 4 * len); // a packed row has two bits at least
        free(data);
    }
}

// Byte for byte what podspy 0.1 wrote, before there was RUNNABLE, and the same with it.
static void rows_of_the_first_version_are_still_read(void **state)
{
    (void)state;
    static const uint8_t old[] = {1 | 2 | 16 | 32,
                                  5,
                                  4, // running, holds the GIL; once, by period
                                  8 | 16,
                                  1,
                                  0,
                                  7, // waiting, collecting; 7 times
                                  15,
                                  0,
                                  2,
                                  3,
                                  100}; // all of the old bits; 3, 100 ns
    static const struct spy_row want[] = {{5, 2, SPY_STATE_RUNNING | SPY_STATE_GIL_HOLDS, 1, 10},
                                          {6, 2, SPY_STATE_GC, 7, 70},
                                          {6, 3, 15, 3, 100}};
    struct spy_rows_reader reader = {.at = old, .end = old + sizeof old, .period_ns = 10};
    for (size_t i = 0; i < SPY_COUNT(want); i++) {
        struct spy_row row;
        assert_int_equal(spy_rows_next(&reader, &row), 1);
        assert_same_row(&row, &want[i]);
    }
    struct spy_row none, both[] = {want[0], want[1]};
    assert_int_equal(spy_rows_next(&reader, &none), 0);
    _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(64);
    both[1].state = SPY_STATE_RUNNABLE;
    spy_rows_encode(both, 2, 10, &out);
    assert_memory_equal(out.data, old, 3); // rows without it are written as before
    assert_int_equal(out.data[3], 64 | 16);
    reader = (struct spy_rows_reader){.at = out.data, .end = out.data + out.len, .period_ns = 10};
    assert_int_equal(spy_rows_next(&reader, &none), 1);
    assert_int_equal(spy_rows_next(&reader, &none), 1);
    assert_int_equal(none.state, SPY_STATE_RUNNABLE);
    out.data[3] |= SPY_STATE_RUNNING; // both at once is damage
    reader = (struct spy_rows_reader){.at = out.data + 3, .end = out.data + out.len};
    assert_int_equal(spy_rows_next(&reader, &none), SPY_ERR_INVALID);
}

static void a_second_collector_is_refused(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 10), *second = NULL;
    struct spy_err err = {0};
    assert_int_equal(spy_store_open("sqlite", dir, 10, SPY_STORE_MEMORY_MAX, &second, &err),
                     SPY_ERR_DENIED);
    assert_non_null(strstr(err.msg, "another collector"));
    kit_close(s);
    s = kit_open(dir, 10);
    kit_close(s);
    kit_remove(dir);
}

static void a_missing_folder_is_an_error(void **state)
{
    (void)state;
    struct spy_store *s = NULL;
    struct spy_err err = {0};
    assert_int_equal(
        spy_store_open("sqlite", "/nonexistent/podspy", 10, SPY_STORE_MEMORY_MAX, &s, &err),
        SPY_ERR_IO);
    assert_non_null(strstr(err.msg, "/nonexistent/podspy"));
}

static void store_files_are_readable_by_their_owner_only(void **state)
{
    (void)state;
    char *dir = kit_folder();
    struct spy_store *s = kit_open(dir, 10);
    struct spy_err err;
    assert_int_equal(spy_store_check(s, &err), 0);
    static const char *const names[] = {"podspy.db", "podspy.db-wal", "podspy.db-shm",
                                        "podspy.lock"};
    for (size_t i = 0; i < SPY_COUNT(names); i++) {
        char path[4096];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 077, 0);
    }
    kit_close(s);
    kit_remove(dir);
}

RUN(T(a_file_of_noise_is_refused), T(a_damaged_list_of_tables_is_refused),
    T(a_truncated_file_is_refused_or_answers_with_an_error),
    T(other_databases_and_versions_are_refused_and_left_alone),
    T(a_file_of_the_first_version_is_taken_over), T(damage_anywhere_gives_errors_and_no_crash),
    T(contradicting_rows_are_reported_as_damage), T(random_rows_are_read_in_bounds),
    T(rows_come_back_in_either_form), T(a_usual_window_takes_two_bytes_a_row),
    T(rows_of_the_first_version_are_still_read), T(a_second_collector_is_refused),
    T(a_missing_folder_is_an_error), T(store_files_are_readable_by_their_owner_only))
