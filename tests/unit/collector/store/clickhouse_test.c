// What only ClickHouse's store does: several collectors, a server that goes and comes, days dropped
// whole, bounds and credentials of its statements.
#include "click_server.h"
#include "collector/store/clickhouse/link.h"
#include "collector/store/clickhouse/schema.h"
#include "kit.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { HOUR = 3600, DAY = 86400 };

static struct spy_profile *make_one(uint64_t id, const char *pod)
{
    struct spy_profile *p = kit_window(id, T0 + id % 3000, 10, 1, (const char *[]){"pod", pod});
    kit_sample(p, "main;work", 1);
    return p;
}

static struct spy_store *open_place(const char *place)
{
    struct spy_store *s = NULL;
    struct spy_err err = {0};
    if (spy_store_open("clickhouse", place, 1000, SPY_STORE_MEMORY_MAX, &s, &err) < 0)
        fail_msg("%s", err.msg);
    return s;
}

static uint64_t count_stored(struct spy_store *s)
{
    struct spy_select all = kit_everything();
    struct spy_profile *p = kit_query(s, &all);
    uint64_t n = kit_total(p);
    spy_profile_free(p);
    return n;
}

// --- several collectors, and a server that is killed ---

enum { SENDERS = 4, IDS_A_ROUND = 12 };

struct sender {
    pthread_t thread;
    struct spy_store *store;
    uint64_t first;
    size_t tries;
    uint64_t stored; // atomic
};

// Sends each window until it is acknowledged, as an agent does.
static void *send_all(void *arg)
{
    struct sender *a = arg;
    for (uint64_t i = 0; i < IDS_A_ROUND; i++) {
        struct spy_profile *p = make_one(a->first + i, i % 2 ? "a" : "b");
        size_t known = 0;
        uint64_t end = spy_clock_mono_ns() + 120 * SPY_NS_PER_SEC;
        while (a->tries++, spy_store_append(a->store, &p, 1, &known, NULL, NULL) < 0 &&
                               spy_clock_mono_ns() < end)
            usleep(20000);
        spy_profile_free(p);
        __atomic_store_n(&a->stored, i + 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

// Two collectors get the same windows from two agents each, while ClickHouse is killed and started.
// It is killed when a number of them is stored, which differs by round, and somewhere in what follows.
static void send_one_round(struct spy_store *const stores[2], uint64_t round, size_t *tries)
{
    struct sender a[SENDERS] = {0};
    for (int i = 0; i < SENDERS; i++) {
        a[i] = (struct sender){.store = stores[i % 2], .first = round * IDS_A_ROUND};
        assert_int_equal(pthread_create(&a[i].thread, NULL, send_all, &a[i]), 0);
    }
    while (__atomic_load_n(&a[0].stored, __ATOMIC_RELAXED) < round * 5 % (IDS_A_ROUND - 1))
        usleep(1000);
    usleep((useconds_t)(round * 3700 % 20000));
    click_server_kill();
    click_server_start();
    for (int i = 0; i < SENDERS; i++) {
        pthread_join(a[i].thread, NULL);
        *tries += a[i].tries;
    }
}

static void acknowledged_windows_count_once_whatever_happens_to_the_server(void **state)
{
    (void)state;
    const char *wanted = getenv("PODSPY_CLICKHOUSE_ROUNDS");
    uint64_t rounds = wanted ? strtoul(wanted, NULL, 10) : 5;
    char place[128];
    snprintf(place, sizeof place, "http://127.0.0.1:%u/?database=faults", click_server_port());
    struct spy_store *stores[2] = {open_place(place), open_place(place)};
    size_t tries = 0, processes;
    for (uint64_t i = 0; i < rounds; i++)
        send_one_round(stores, i, &tries);
    uint64_t sent = rounds * IDS_A_ROUND;
    size_t windows = kit_windows(stores[0], &processes);
    unsigned long rows =
        click_server_ask("faults", "SELECT toUInt64(count()) FROM windows FORMAT RowBinary");
    unsigned long different = click_server_ask(
        "faults", "SELECT toUInt64(uniqExact(profile_id)) FROM windows FORMAT RowBinary");
    print_message(
        "%lu rounds: %lu windows acknowledged by 2 collectors, 2 senders each, %zu tries; "
        "ClickHouse holds %lu rows of %lu profile_ids; lost %ld, counted twice %ld\n",
        rounds, sent, tries, rows, different, (long)(sent - different),
        (long)(windows - different));
    assert_int_equal(different, sent);
    assert_int_equal(windows, sent);
    assert_int_equal(count_stored(stores[1]), sent);
    assert_int_equal(spy_store_verify(stores[0], 0, NULL), 0);
    for (int i = 0; i < 2; i++)
        spy_store_close(stores[i]);
}

static void a_server_that_is_away_is_named_and_comes_back(void **state)
{
    (void)state;
    char place[128];
    struct spy_err err = {0};
    struct spy_profile *p = make_one(1, "a");
    size_t known;
    snprintf(place, sizeof place, "http://127.0.0.1:%u/?database=away", click_server_port());
    click_server_kill();
    struct spy_store *s = open_place(place); // it may come later
    struct spy_select all = kit_everything();
    struct spy_profile *out = spy_profile_new();
    assert_int_equal(spy_store_append(s, &p, 1, &known, NULL, &err), SPY_ERR_AGAIN);
    assert_non_null(strstr(err.msg, "ClickHouse at http://127.0.0.1"));
    assert_int_equal(spy_store_check(s, &err), SPY_ERR_AGAIN);
    assert_int_equal(spy_store_query(s, &all, out, &err), SPY_ERR_AGAIN);
    click_server_start();
    assert_int_equal(kit_append(s, &p, 1), 0);
    assert_int_equal(count_stored(s), 1);
    spy_profile_free(out);
    spy_profile_free(p);
    spy_store_close(s);
}

// --- duplicates ---

// Two collectors that insert the same window at the same instant leave two rows.
static void a_window_that_has_two_rows_counts_once(void **state)
{
    (void)state;
    char place[128];
    struct spy_profile *p = make_one(1, "a");
    snprintf(place, sizeof place, "http://127.0.0.1:%u/?database=twice", click_server_port());
    struct spy_store *s = open_place(place);
    kit_append(s, &p, 1);
    click_server_ask("twice", "INSERT INTO windows SELECT * FROM windows");
    assert_int_equal(
        click_server_ask("twice", "SELECT toUInt64(count()) FROM windows FORMAT RowBinary"), 2);
    assert_int_equal(count_stored(s), 1);
    assert_int_equal(kit_windows(s, NULL), 1);
    spy_profile_free(p);
    spy_store_close(s);
}

// --- retention ---

static void expired_windows_are_hidden_and_their_days_dropped(void **state)
{
    (void)state;
    const uint64_t base = T0 / DAY * DAY;
    char place[128];
    struct spy_err err = {0};
    struct spy_profile *p[4];
    snprintf(place, sizeof place, "http://127.0.0.1:%u/?database=days", click_server_port());
    struct spy_store *s = open_place(place);
    for (uint64_t i = 0; i < 4; i++) { // noon of four days
        p[i] = kit_window(i, base + i * DAY + DAY / 2, 10, 1, (const char *[]){"pod", "a"});
        kit_sample(p[i], "main;work", (uint64_t)1 << i);
    }
    kit_append(s, p, 4);
    assert_int_equal(count_stored(s), 15);
    uint64_t now = (base + 3 * DAY + DAY / 2 + 60) * SEC_NS;
    assert_int_equal(spy_store_expire(s, now, 2 * DAY * SEC_NS, UINT64_MAX, &err), 0);
    assert_int_equal(count_stored(s), 12); // that of the second day has expired, the day has not
    assert_int_equal(
        click_server_ask("days", "SELECT toUInt64(count()) FROM windows FORMAT RowBinary"), 3);
    kit_append(s, p + 3, 1);
    assert_int_equal(spy_store_verify(s, 0, &err), 0);
    // The size: the oldest days go, the latest stays, and nothing more is taken.
    assert_int_equal(spy_store_expire(s, now, 2 * DAY * SEC_NS, 1, &err), 0);
    assert_int_equal(count_stored(s), 8);
    size_t known;
    assert_int_equal(spy_store_append(s, p, 1, &known, NULL, &err), SPY_ERR_LIMIT);
    assert_non_null(strstr(err.msg, "max_gib"));
    assert_int_equal(spy_store_expire(s, now, 2 * DAY * SEC_NS, UINT64_MAX, &err), 0);
    assert_int_equal(kit_append(s, p + 2, 1), 0);
    assert_int_equal(count_stored(s), 12);
    assert_int_equal(spy_store_verify(s, 0, &err), 0);
    for (size_t i = 0; i < 4; i++)
        spy_profile_free(p[i]);
    spy_store_close(s);
}

static void what_is_missing_is_found_and_no_weight_is_lost(void **state)
{
    (void)state;
    char place[128];
    struct spy_err err = {0};
    struct spy_profile *p = make_one(1, "a");
    snprintf(place, sizeof place, "http://127.0.0.1:%u/?database=missing", click_server_port());
    struct spy_store *s = open_place(place);
    kit_append(s, &p, 1);
    click_server_ask("missing", "TRUNCATE TABLE stacks");
    assert_int_equal(spy_store_verify(s, 0, &err), SPY_ERR_IO);
    assert_non_null(strstr(err.msg, "1 stacks"));
    assert_int_equal(count_stored(s), 1);
    spy_profile_free(p);
    spy_store_close(s);
}

// --- roll-ups ---

static const struct spy_store_levels levels = {7 * DAY * SEC_NS, 90 * DAY *SEC_NS};

static struct spy_store *open_rolling(const char *database)
{
    char place[128];
    snprintf(place, sizeof place, "http://127.0.0.1:%u/?database=%s&grace=0", click_server_port(),
             database);
    struct spy_store *s = open_place(place);
    spy_store_keep(s, &levels);
    return s;
}

static void expire_rolling(struct spy_store *s, uint64_t now_s, uint64_t raw_s)
{
    struct spy_err err = {0};
    if (spy_store_expire(s, now_s * SEC_NS, raw_s * SEC_NS, UINT64_MAX, &err) < 0)
        fail_msg("%s", err.msg);
}

static unsigned long count_rows(const char *database, const char *table)
{
    char sql[128];
    snprintf(sql, sizeof sql, "SELECT toUInt64(count()) FROM %s FORMAT RowBinary", table);
    return click_server_ask(database, sql);
}

struct expirer {
    pthread_t thread;
    struct spy_store *store;
    bool stop;
};

// Rolls up for as long as windows come, whatever fails.
static void *expire_often(void *arg)
{
    struct expirer *e = arg;
    while (!spy_stop_is_set(&e->stop)) {
        spy_store_expire(e->store, (T0 + 2 * HOUR) * SEC_NS, DAY * SEC_NS, UINT64_MAX, NULL);
        usleep(5000);
    }
    return NULL;
}

// What was sent again after an answer that was lost: all of it is known.
static void send_again(struct spy_store *s, uint64_t sent)
{
    for (uint64_t i = 0; i < sent; i++) {
        struct spy_profile *p = make_one(i, i % IDS_A_ROUND % 2 ? "a" : "b");
        assert_int_equal(kit_append(s, &p, 1), 1);
        spy_profile_free(p);
    }
}

static void roll_ups_count_each_window_once_whatever_happens(void **state)
{
    (void)state;
    const char *wanted = getenv("PODSPY_CLICKHOUSE_ROUNDS");
    uint64_t rounds = wanted ? strtoul(wanted, NULL, 10) : 3, sent = rounds * IDS_A_ROUND;
    struct spy_store *stores[2] = {open_rolling("sums"), open_rolling("sums")};
    struct expirer e[2] = {{.store = stores[0]}, {.store = stores[1]}};
    size_t tries = 0;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&e[i].thread, NULL, expire_often, &e[i]), 0);
    for (uint64_t i = 0; i < rounds; i++)
        send_one_round(stores, i, &tries);
    for (int i = 0; i < 2; i++) {
        spy_stop_set(&e[i].stop);
        pthread_join(e[i].thread, NULL);
    }
    // Each row again, as two collectors leave them that insert at the same instant.
    click_server_ask("sums", "INSERT INTO windows SELECT * FROM windows");
    for (int i = 0; i < 2; i++)
        expire_rolling(stores[i], T0 + 2 * HOUR, DAY);
    uint64_t totals[3] = {count_stored(stores[1])};
    send_again(stores[0], sent);
    expire_rolling(stores[0], T0 + 2 * DAY, HOUR); // minutes and hours are left
    unsigned long windows = count_rows("sums", "windows");
    totals[1] = count_stored(stores[1]);
    send_again(stores[1], sent);
    assert_int_equal(spy_store_verify(stores[1], 0, NULL), 0);
    expire_rolling(stores[1], T0 + 10 * DAY, HOUR); // hours are left
    unsigned long minutes = count_rows("sums", "minutes");
    totals[2] = count_stored(stores[0]);
    print_message("%lu rounds: %lu windows, %zu tries; totals %lu from windows and hours, %lu "
                  "without windows, %lu from hours alone\n",
                  rounds, sent, tries, totals[0], totals[1], totals[2]);
    assert_int_equal(windows, 0);
    assert_int_equal(minutes, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(totals[i], sent);
    assert_int_equal(kit_windows(stores[0], NULL), sent);
    for (int i = 0; i < 2; i++)
        spy_store_close(stores[i]);
}

// One collector closed the day, and another still stored the window as one of the day.
static void a_window_that_is_late_for_one_collector_alone_counts_once(void **state)
{
    (void)state;
    struct spy_profile *first = make_one(1, "a"), *late = make_one(2, "a");
    struct spy_store *s = open_rolling("late");
    kit_append(s, &first, 1);
    kit_append(s, &late, 1);
    click_server_ask("late", "CREATE TABLE kept AS windows");
    click_server_ask("late", "INSERT INTO kept SELECT * FROM windows WHERE end_ns % 10 = 0");
    expire_rolling(s, T0 + 2 * DAY, HOUR);
    assert_int_equal(count_rows("late", "windows"), 0);
    struct spy_profile *later = make_one(3, "a");
    assert_int_equal(kit_append(s, &later, 1), 0);
    assert_int_equal(kit_append(s, &later, 1), 1);
    assert_int_equal(count_rows("late", "windows"), 0); // it is beside the sums
    assert_int_equal(count_stored(s), 3);
    click_server_ask("late", "INSERT INTO windows SELECT * FROM kept");
    assert_int_equal(count_stored(s), 3);
    expire_rolling(s, T0 + 2 * DAY, HOUR);
    assert_int_equal(count_stored(s), 3);
    assert_int_equal(spy_store_verify(s, 0, NULL), 0);
    spy_profile_free(first);
    spy_profile_free(late);
    spy_profile_free(later);
    spy_store_close(s);
}

// A window that ends at midnight is of the day that ends then. Version 1 had it in the next.
static void tables_of_version_1_get_their_roll_ups(void **state)
{
    (void)state;
    const uint64_t midnight = T0 / DAY * DAY + DAY;
    static const char *const tables[][2] = {
        {"windows", SPY_CLICK_HEAD ", " SPY_CLICK_THREADS ", " SPY_CLICK_ROWS},
        {"stacks", "id, frames"},
        {"frames", "id, name, filename, start_line, kind, line"},
        {"series", "id, keys, values"}};
    char sql[1200];
    struct spy_profile *p[2];
    struct spy_store *s = open_rolling("migrated");
    for (uint64_t i = 0; i < 2; i++) {
        p[i] = kit_window(i, midnight - 10 + i * 100, 10, 1, (const char *[]){"pod", "a"});
        kit_sample(p[i], "main;work", 1 + i);
    }
    kit_append(s, p, 1);
    for (size_t i = 0; i < SPY_COUNT(tables); i++) {
        snprintf(sql, sizeof sql, "INSERT INTO %s (day, %s) SELECT toUInt16(day + 1), %s FROM %s",
                 tables[i][0], tables[i][1], tables[i][1], tables[i][0]);
        click_server_ask("migrated", sql);
        snprintf(sql, sizeof sql, "ALTER TABLE %s DROP PARTITION ID '%lu'", tables[i][0],
                 midnight / DAY - 1);
        click_server_ask("migrated", sql);
    }
    for (size_t i = 0; i < 3; i++) {
        snprintf(sql, sizeof sql, "DROP TABLE %s",
                 (const char *[]){"minutes", "hours", "marks"}[i]);
        click_server_ask("migrated", sql);
    }
    click_server_ask("migrated", "TRUNCATE TABLE schema");
    click_server_ask("migrated", "INSERT INTO schema SELECT toUInt16(1), toUInt64(0)");
    spy_store_close(s);
    s = open_rolling("migrated");
    assert_int_equal(kit_append(s, p, 2), 1);
    assert_int_equal(count_stored(s), 3);
    expire_rolling(s, midnight + HOUR, 2 * DAY); // the hour before midnight is rolled up
    assert_int_equal(count_stored(s), 3);
    expire_rolling(s, midnight + 3 * DAY, HOUR);
    assert_int_equal(count_rows("migrated", "windows"), 0);
    assert_int_equal(count_stored(s), 3);
    assert_int_equal(kit_append(s, p, 2), 2);
    assert_int_equal(spy_store_verify(s, 0, NULL), 0);
    for (size_t i = 0; i < 2; i++)
        spy_profile_free(p[i]);
    spy_store_close(s);
}

// The oldest windows go first, then what they were summed up to; the latest day stays.
static void a_bound_of_size_drops_windows_before_their_roll_ups(void **state)
{
    (void)state;
    const uint64_t base = T0 / DAY * DAY;
    struct spy_err err = {0};
    struct spy_store *s = open_rolling("size");
    for (uint64_t i = 0; i < 4; i++) { // noon of four days
        struct spy_profile *p =
            kit_window(i, base + i * DAY + DAY / 2, 10, 1, (const char *[]){"pod", "a"});
        kit_sample(p, "main;work", (uint64_t)1 << i);
        kit_append(s, &p, 1);
        spy_profile_free(p);
    }
    uint64_t now = (base + 3 * DAY + DAY / 2 + HOUR) * SEC_NS;
    assert_int_equal(spy_store_expire(s, now, 30 * DAY * SEC_NS, UINT64_MAX, &err), 0);
    unsigned long bytes = click_server_ask(
        "size",
        "SELECT toUInt64(sum(bytes_on_disk)) FROM system.parts WHERE active AND database = "
        "currentDatabase() AND table NOT IN ('marks', 'checks', 'schema') FORMAT RowBinary");
    assert_int_equal(spy_store_expire(s, now, 30 * DAY * SEC_NS, bytes - 1, &err), 0);
    assert_int_equal(count_rows("size", "windows"), 3);
    assert_int_equal(count_stored(s), 15);
    assert_int_equal(spy_store_expire(s, now, 30 * DAY * SEC_NS, 1, &err), 0);
    assert_int_equal(count_stored(s), 8);
    assert_int_equal(spy_store_verify(s, 0, &err), 0);
    spy_store_close(s);
}

// --- bounds ---

static void a_question_is_bounded_and_can_be_stopped(void **state)
{
    (void)state;
    char place[128];
    struct spy_err err = {0};
    struct spy_profile *p[] = {make_one(1, "a"), make_one(2, "a")}, *out = spy_profile_new();
    bool stop = false;
    snprintf(place, sizeof place, "http://127.0.0.1:%u/?database=bounds", click_server_port());
    struct spy_store *s = open_place(place);
    kit_append(s, p, 2);
    struct spy_select select = kit_everything();
    select.rows_max = 4; // two windows, a sample each
    select.stop = &stop;
    assert_int_equal(spy_store_query(s, &select, out, &err), 0);
    select.rows_max = 3;
    assert_int_equal(spy_store_query(s, &select, out, &err), SPY_ERR_LIMIT);
    assert_non_null(strstr(err.msg, "narrow"));
    select.rows_max = 0;
    spy_stop_set(&stop);
    assert_int_equal(spy_store_query(s, &select, out, &err), SPY_ERR_GONE);
    spy_profile_free(out);
    for (size_t i = 0; i < 2; i++)
        spy_profile_free(p[i]);
    spy_store_close(s);
}

static void *set_later(void *stop)
{
    usleep(300000);
    spy_stop_set(stop);
    return NULL;
}

static int count_row(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    (void)err;
    spy_rowbin_number(r, 1);
    *(uint64_t *)arg += !r->is_short;
    return r->is_short ? SPY_ERR_TORN : 0;
}

static void a_statement_ends_when_it_is_stopped_or_its_answer_is_too_large(void **state)
{
    (void)state;
    struct spy_click_place place = {.database = "default"};
    struct spy_click_link *l = NULL;
    struct spy_err err = {0};
    bool stop = false;
    uint64_t rows = 0;
    pthread_t t;
    snprintf(place.url, sizeof place.url, "http://127.0.0.1:%u", click_server_port());
    assert_int_equal(spy_click_link_new(&place, &l, &err), 0);
    struct spy_click_call c = {.sql = "SELECT toUInt8(1) FROM system.numbers LIMIT 100000 "
                                      "FORMAT RowBinary",
                               .row = count_row,
                               .arg = &rows};
    assert_int_equal(spy_click_call(l, &c, &err), 0);
    assert_int_equal(rows, 100000);
    c.bytes_max = 50000;
    assert_int_equal(spy_click_call(l, &c, &err), SPY_ERR_LIMIT);
    c = (struct spy_click_call){.sql = "SELECT toUInt8(sleep(2)) FROM system.numbers LIMIT 10 "
                                       "SETTINGS max_block_size = 1 FORMAT RowBinary",
                                .row = count_row,
                                .arg = &rows,
                                .stop = &stop};
    assert_int_equal(pthread_create(&t, NULL, set_later, &stop), 0);
    assert_int_equal(spy_click_call(l, &c, &err), SPY_ERR_GONE);
    pthread_join(t, NULL);
    // A fault in the middle of an answer is an error.
    c = (struct spy_click_call){.sql = "SELECT toUInt8(throwIf(number = 90000)) FROM "
                                       "system.numbers LIMIT 100000 FORMAT RowBinary",
                                .row = count_row,
                                .arg = &rows};
    assert_int_equal(spy_click_call(l, &c, &err), SPY_ERR_IO);
    spy_click_link_free(l);
}

// --- credentials and versions ---

static void a_password_is_read_from_its_file_for_each_statement(void **state)
{
    (void)state;
    char place[200], file[] = "/tmp/podspy-password-XXXXXX";
    struct spy_err err = {0};
    struct spy_store *s = NULL;
    int fd = mkstemp(file);
    assert_int_equal(write(fd, "wrong\n", 6), 6);
    snprintf(place, sizeof place, "http://127.0.0.1:%u/?database=auth&user=secret&password_file=%s",
             click_server_port(), file);
    assert_int_equal(spy_store_open("clickhouse", place, 10, 0, &s, &err), SPY_ERR_DENIED);
    assert_int_equal(pwrite(fd, "pass-word\n", 10, 0), 10);
    s = open_place(place);
    assert_int_equal(spy_store_check(s, &err), 0);
    assert_int_equal(pwrite(fd, "none-such\n", 10, 0), 10);
    assert_int_equal(spy_store_check(s, &err), SPY_ERR_DENIED);
    close(fd);
    unlink(file);
    assert_int_equal(spy_store_check(s, &err), SPY_ERR_DENIED);
    assert_non_null(strstr(err.msg, file));
    spy_store_close(s);
}

static void tables_of_a_later_version_are_left_alone(void **state)
{
    (void)state;
    char place[128];
    struct spy_err err = {0};
    struct spy_store *s = NULL;
    snprintf(place, sizeof place, "http://127.0.0.1:%u/?database=later", click_server_port());
    spy_store_close(open_place(place));
    spy_store_close(open_place(place));
    assert_int_equal(spy_store_verify_dir("clickhouse", place, &err), 0);
    click_server_ask("later", "INSERT INTO schema SELECT toUInt16(99), toUInt64(0)");
    assert_int_equal(spy_store_open("clickhouse", place, 10, 0, &s, &err), SPY_ERR_INVALID);
    assert_non_null(strstr(err.msg, "version 99"));
    snprintf(place, sizeof place, "http://127.0.0.1:%u/?database=nothing", click_server_port());
    assert_int_equal(spy_store_verify_dir("clickhouse", place, &err), SPY_ERR_NOTFOUND);
}

static void a_place_is_read_back_as_it_was_written(void **state)
{
    (void)state;
    struct spy_click_place in = {.url = "https://ch.example:8443",
                                 .database = "spy_1",
                                 .user = "a&b=c%41 \xc3\xa9",
                                 .password_file = "/run/a b/?&",
                                 .replicas = 3,
                                 .grace_secs = 7},
                           out;
    struct spy_buf text = SPY_BUF_INIT(4096);
    assert_int_equal(spy_click_place_print(&in, &text), 0);
    assert_int_equal(spy_click_place_parse(spy_buf_str(&text), &out, NULL), 0);
    assert_memory_equal(&in, &out, sizeof in);
    spy_buf_free(&text);
    static const char *const wrong[] = {
        "",
        "ch:8443",
        "http://other:8123/?database=x",
        "https://user:word@ch/?database=x",
        "https://ch/?database=a-b",
        "https://ch/?database=x;DROP",
        "https://ch/?database=",
        "https://ch/?user=%4",
        "https://ch/?user=%zz",
        "https://ch/?user=%00",
        "https://ch/?nothing=1",
        "https://ch/?replicas=17",
        "https://ch/?replicas",
        "https://ch/?grace=601",
    };
    for (size_t i = 0; i < SPY_COUNT(wrong); i++)
        if (spy_click_place_parse(wrong[i], &out, NULL) != SPY_ERR_INVALID)
            fail_msg("taken: %s", wrong[i]);
}

RUN(T(a_place_is_read_back_as_it_was_written), T(a_window_that_has_two_rows_counts_once),
    T(expired_windows_are_hidden_and_their_days_dropped),
    T(a_window_that_is_late_for_one_collector_alone_counts_once),
    T(tables_of_version_1_get_their_roll_ups),
    T(a_bound_of_size_drops_windows_before_their_roll_ups),
    T(what_is_missing_is_found_and_no_weight_is_lost), T(a_question_is_bounded_and_can_be_stopped),
    T(a_statement_ends_when_it_is_stopped_or_its_answer_is_too_large),
    T(a_password_is_read_from_its_file_for_each_statement),
    T(tables_of_a_later_version_are_left_alone), T(a_server_that_is_away_is_named_and_comes_back),
    T(acknowledged_windows_count_once_whatever_happens_to_the_server),
    T(roll_ups_count_each_window_once_whatever_happens))
