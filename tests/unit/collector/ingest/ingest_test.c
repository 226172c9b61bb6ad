#include "collector/ingest/agents.h"
#include "collector/ingest/ingest.h"
#include "shared/base/clock.h"
#include "shared/base/compress.h"
#include "shared/otlp/otlp.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PROTOBUF "application/x-protobuf"
#define HOUR     (3600 * SPY_NS_PER_SEC)
#define JSON     "application/json"

struct fixture {
    char dir[64];
    struct spy_store *store;
    struct spy_ingest *in;
    const char *date, *version; // headers
    uint64_t rejected;          // of the last answer
    char why[240];              // its message, or the error's
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/podspy-ingest-XXXXXX");
    f->date = f->version = "";
    *state = f;
    if (!mkdtemp(f->dir) ||
        spy_store_open("sqlite", f->dir, 1000, SPY_STORE_MEMORY_MAX, &f->store, NULL) < 0)
        return -1;
    struct spy_ingest_options o = {.store = f->store,
                                   .body_max = 4 << 20,
                                   .memory = 256 << 20,
                                   .agents_max = 2,
                                   .retention_ns = 24 * HOUR};
    return spy_ingest_new(&o, &f->in, NULL);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"podspy.db", "podspy.db-wal", "podspy.db-shm",
                                        "podspy.lock"};
    spy_ingest_free(f->in);
    spy_store_close(f->store);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[100];
        snprintf(path, sizeof path, "%s/%s", f->dir, names[i]);
        unlink(path);
    }
    int r = rmdir(f->dir);
    free(f);
    return r;
}

static uint32_t str(struct spy_profile *p, const char *s)
{
    uint32_t id;
    assert_int_equal(spy_profile_cstr(p, s, &id), 0);
    return id;
}

// One series of `node` with n different stacks, as bytes.
static struct spy_buf body_of(const char *node, int n, uint64_t start_ns)
{
    struct spy_buf b = SPY_BUF_INIT(64 << 20);
    struct spy_profile *p = spy_profile_new();
    struct spy_label label = {str(p, SPY_LABEL_NODE), str(p, node)};
    uint32_t series;
    assert_int_equal(spy_profile_series(p, &label, 1, &series), 0);
    struct spy_series *s = spy_profile_series_at(p, series);
    assert_int_equal(spy_random_bytes(s->profile_id, 16), 0);
    s->start_ns = start_ns;
    s->duration_ns = SPY_NS_PER_SEC;
    s->period_ns = SPY_NS_PER_MS;
    for (int i = 0; i < n; i++) {
        char name[64];
        uint32_t function, frame, stack;
        snprintf(name, sizeof name, "a_function_with_a_rather_long_name_%d", i);
        struct spy_function fn = {.name = str(p, name), .filename = str(p, "/app/x.py")};
        assert_int_equal(spy_profile_function(p, &fn, &function), 0);
        assert_int_equal(spy_profile_frame(p, (struct spy_frame){function, 1}, &frame), 0);
        assert_int_equal(spy_profile_stack(p, 0, frame, &stack), 0);
        assert_int_equal(spy_profile_add(p, series, stack, 0, SPY_STATE_RUNNING, 1, 1), 0);
    }
    assert_int_equal(spy_otlp_encode(p, NULL, 0, &b, NULL), 0);
    spy_profile_free(p);
    return b;
}

static enum spy_ingest_outcome take(struct fixture *f, const struct spy_buf *b, const char *type,
                                    const char *encoding)
{
    struct spy_buf answer = SPY_BUF_INIT(4096);
    struct spy_err err = {0};
    struct spy_ingest_body body = {.content_type = type,
                                   .content_encoding = encoding,
                                   .date = f->date,
                                   .version = f->version,
                                   .data = b->data ? b->data : (const uint8_t *)"",
                                   .len = b->len};
    const char *answer_type;
    enum spy_ingest_outcome o = spy_ingest_take(f->in, &body, &answer, &answer_type, &err);
    if (o != SPY_INGEST_TAKEN) {
        assert_true(err.msg[0]);
        snprintf(f->why, sizeof f->why, "%s", err.msg);
    } else if (!strcmp(answer_type, PROTOBUF)) {
        const uint8_t *data = answer.data ? answer.data : (const uint8_t *)"";
        assert_int_equal(
            spy_otlp_decode_response(data, answer.len, &f->rejected, f->why, sizeof f->why), 0);
    }
    spy_buf_free(&answer);
    return o;
}

static uint64_t stored(struct fixture *f)
{
    struct spy_select all = {.until_ns = INT64_MAX};
    struct spy_profile *p = spy_profile_new();
    assert_int_equal(spy_store_query(f->store, &all, p, NULL), 0);
    uint64_t n = 0;
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++)
        n += spy_profile_sample_at(p, i)->count;
    spy_profile_free(p);
    return n;
}

static void test_types_and_encodings_are_recognized(void **state)
{
    struct fixture *f = *state;
    struct spy_buf b = body_of("n", 3, spy_clock_real_ns());
    assert_int_equal(take(f, &b, JSON, ""), SPY_INGEST_MALFORMED);
    assert_int_equal(take(f, &b, "text/json", ""), SPY_INGEST_BAD_TYPE);
    assert_int_equal(take(f, &b, "", ""), SPY_INGEST_BAD_TYPE);
    assert_int_equal(take(f, &b, "application/x-protobufs", ""), SPY_INGEST_BAD_TYPE);
    assert_int_equal(take(f, &b, PROTOBUF, "br"), SPY_INGEST_BAD_TYPE);
    assert_int_equal(take(f, &b, PROTOBUF, "zstd"), SPY_INGEST_MALFORMED);
    assert_int_equal(stored(f), 0);
    assert_int_equal(take(f, &b, "Application/X-Protobuf; charset=x", "identity"),
                     SPY_INGEST_TAKEN);
    assert_int_equal(take(f, &b, "application/protobuf", ""), SPY_INGEST_TAKEN);
    assert_int_equal(stored(f), 3);
    spy_buf_free(&b);
}

static void test_a_body_over_the_small_bounds_is_decoded_with_the_large_ones(void **state)
{
    struct fixture *f = *state;
    struct spy_buf b = body_of("n", 20000, spy_clock_real_ns());
    assert_true(b.len > SPY_INGEST_SMALL);
    assert_int_equal(take(f, &b, PROTOBUF, ""), SPY_INGEST_TAKEN);
    assert_int_equal(stored(f), 20000);
    spy_buf_free(&b);
}

static void test_a_body_over_all_bounds_is_too_large(void **state)
{
    struct fixture *f = *state;
    struct spy_buf zeros = SPY_BUF_INIT(64 << 20), packed = SPY_BUF_INIT(1 << 20);
    size_t n = (4 << 20) * SPY_INGEST_EXPANSION + 1;
    memset(spy_buf_reserve(&zeros, n), 0, n);
    zeros.len = n;
    assert_int_equal(spy_compress(SPY_ENCODING_ZSTD, zeros.data, n, &packed, NULL), 0);
    assert_int_equal(take(f, &packed, PROTOBUF, "zstd"), SPY_INGEST_TOO_LARGE);
    spy_buf_free(&zeros);
    spy_buf_free(&packed);
}

static void test_a_profile_without_a_time_gets_the_current_time(void **state)
{
    struct fixture *f = *state;
    uint64_t now = spy_clock_real_ns();
    struct spy_buf none = body_of("n", 1, 0);
    assert_int_equal(take(f, &none, PROTOBUF, ""), SPY_INGEST_TAKEN);
    struct spy_select lately = {.from_ns = now - 60 * SPY_NS_PER_SEC, .until_ns = INT64_MAX};
    struct spy_profile *p = spy_profile_new();
    assert_int_equal(spy_store_query(f->store, &lately, p, NULL), 0);
    assert_int_equal(spy_profile_n_samples(p), 1);
    spy_profile_free(p);
    spy_buf_free(&none);
}

static void http_date(int64_t hours_from_now, char out[64])
{
    time_t t = time(NULL) + hours_from_now * 3600;
    struct tm tm;
    assert_int_not_equal(strftime(out, 64, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&t, &tm)), 0);
}

// The profile and the sender's clock in hours from the collector's; NO_DATE: it is not sent.
enum { NO_DATE = 99 };
static const struct {
    int profile, sender;
    enum spy_ingest_outcome outcome;
    const char *why;
} clocks[] = {
    {0, NO_DATE, SPY_INGEST_TAKEN, ""},
    {0, 0, SPY_INGEST_TAKEN, ""},
    {0, -48, SPY_INGEST_TAKEN, ""},
    {-23, 0, SPY_INGEST_TAKEN, ""},
    {2, NO_DATE, SPY_INGEST_CLOCK, "this collector's clock shows"},
    {48, 48, SPY_INGEST_CLOCK, "this collector's clock shows"},
    {48, 0, SPY_INGEST_NOT_TAKEN, "its own sender's clock"},
    {-48, 0, SPY_INGEST_NOT_TAKEN, "(retention)"},
    {-48, NO_DATE, SPY_INGEST_CLOCK, "this collector's clock shows"},
    {-48, -48, SPY_INGEST_CLOCK, "this collector's clock shows"}, // ours is ahead
};

static void test_a_time_is_refused_finally_only_where_the_clocks_agree(void **state)
{
    struct fixture *f = *state;
    uint64_t n = 0;
    for (size_t i = 0; i < sizeof clocks / sizeof *clocks; i++) {
        char date[64] = "";
        if (clocks[i].sender != NO_DATE)
            http_date(clocks[i].sender, date);
        f->date = date;
        uint64_t at = spy_clock_real_ns() + (uint64_t)(clocks[i].profile * (int64_t)HOUR);
        struct spy_buf b = body_of("n", 1, at);
        if (take(f, &b, PROTOBUF, "") != clocks[i].outcome || !strstr(f->why, clocks[i].why))
            fail_msg("row %zu: %s", i, f->why);
        n += clocks[i].outcome == SPY_INGEST_TAKEN;
        assert_int_equal(stored(f), n);
        spy_buf_free(&b);
    }
    f->date = "";
}

// Two requests of one series each in one: protobuf messages that follow upon each other are one.
static struct spy_buf joined(struct spy_buf a, struct spy_buf b)
{
    assert_int_equal(spy_buf_append(&a, b.data, b.len), 0);
    spy_buf_free(&b);
    return a;
}

static void test_rejected_profiles_are_reported_and_the_rest_is_stored_once(void **state)
{
    struct fixture *f = *state;
    uint64_t now = spy_clock_real_ns();
    struct spy_buf b = joined(body_of("n", 3, now), body_of("n", 3, now - 48 * HOUR));
    for (int i = 0; i < 3; i++) { // sent again it is stored once, and told again
        assert_int_equal(take(f, &b, PROTOBUF, ""), SPY_INGEST_TAKEN);
        assert_int_equal(f->rejected, 1);
        assert_string_equal(f->why, "1 of 2 profiles were not taken; the first: a profile is older "
                                    "than what this collector keeps (retention)");
        assert_int_equal(stored(f), 3);
    }
    spy_buf_free(&b);
}

// A profile that is given a time here tells nothing about the clock.
static void test_a_profile_without_a_time_confirms_no_clock(void **state)
{
    struct fixture *f = *state;
    struct spy_buf b = joined(body_of("n", 3, 0), body_of("n", 3, spy_clock_real_ns() - 48 * HOUR));
    assert_int_equal(take(f, &b, PROTOBUF, ""), SPY_INGEST_CLOCK);
    assert_int_equal(stored(f), 0);
    spy_buf_free(&b);
}

static void test_another_version_of_the_signal_is_refused_undecoded(void **state)
{
    struct fixture *f = *state;
    static const char *const wrong[] = {"2", "01", "1, 1", " 1", "x"};
    struct spy_buf b = body_of("n", 1, spy_clock_real_ns());
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        f->version = wrong[i];
        assert_int_equal(take(f, &b, PROTOBUF, ""), SPY_INGEST_MALFORMED);
        assert_non_null(strstr(f->why, "only version 1"));
    }
    assert_int_equal(stored(f), 0);
    f->version = "1";
    assert_int_equal(take(f, &b, PROTOBUF, ""), SPY_INGEST_TAKEN);
    spy_buf_free(&b);
}

static void test_counters_do_not_go_down(void **state)
{
    (void)state;
    int64_t n = 0;
    for (int i = 0; i < 3; i++)
        spy_count(&n, INT64_MAX - 1);
    assert_true(n == INT64_MAX);
    int64_t gauge = 5;
    spy_count(&gauge, -2);
    assert_int_equal(gauge, 3);
}

static void test_agents_over_the_limit_are_refused_and_store_nothing(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *node;
        enum spy_ingest_outcome outcome;
    } rows[] = {{"a", SPY_INGEST_TAKEN},
                {"b", SPY_INGEST_TAKEN},
                {"c", SPY_INGEST_BUSY_AGENTS},
                {"b", SPY_INGEST_TAKEN}};
    for (size_t i = 0; i < 4; i++) {
        struct spy_buf b = body_of(rows[i].node, 1, spy_clock_real_ns());
        assert_int_equal(take(f, &b, PROTOBUF, ""), rows[i].outcome);
        spy_buf_free(&b);
    }
    assert_int_equal(stored(f), 3);
}

static void test_a_silent_agent_frees_its_place(void **state)
{
    (void)state;
    struct spy_agents *a = spy_agents_new(2, 600, 0);
    char longest[1000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(spy_agents_see(a, "one", 1 << 30, 1000), SPY_AGENTS_OK);
    assert_int_equal(spy_agents_see(a, longest, 1 << 30, 1100), SPY_AGENTS_OK);
    assert_int_equal(spy_agents_see(a, "three", 1 << 30, 1200), SPY_AGENTS_TOO_MANY);
    assert_int_equal(spy_agents_see(a, longest, 1 << 30, 1500), SPY_AGENTS_OK);
    assert_int_equal(spy_agents_see(a, "three", 1 << 30, 1599), SPY_AGENTS_TOO_MANY);
    assert_int_equal(spy_agents_see(a, "three", 1 << 30, 1620),
                     SPY_AGENTS_OK); // "one" was silent for 620
    assert_int_equal(spy_agents_see(a, "one", 1 << 30, 1640), SPY_AGENTS_TOO_MANY);
    assert_int_equal(spy_agents_count(a), 2);
    spy_agents_free(a);
}

static void an_agent_over_its_rate_gets_a_retry_after(void **state)
{
    (void)state;
    struct spy_agents *a = spy_agents_new(10, 600 * SPY_NS_PER_SEC, 1000);
    uint64_t now = 100000 * SPY_NS_PER_SEC;
    for (int i = 0; i < 10; i++)
        assert_int_equal(spy_agents_see(a, "busy", 100, now), SPY_AGENTS_OK);
    assert_int_equal(spy_agents_see(a, "busy", 100, now), SPY_AGENTS_TOO_FAST);
    assert_int_equal(spy_agents_see(a, "other", 100, now), SPY_AGENTS_OK);
    now += 6 * SPY_NS_PER_SEC; // a tenth of a minute: room for one more
    assert_int_equal(spy_agents_see(a, "busy", 100, now), SPY_AGENTS_OK);
    assert_int_equal(spy_agents_see(a, "busy", 100, now), SPY_AGENTS_TOO_FAST);
    now += 600 * SPY_NS_PER_SEC; // but never for more than a minute's
    for (int i = 0; i < 10; i++)
        assert_int_equal(spy_agents_see(a, "busy", 100, now), SPY_AGENTS_OK);
    assert_int_equal(spy_agents_see(a, "busy", 1, now), SPY_AGENTS_TOO_FAST);
    now -= 3600 * SPY_NS_PER_SEC; // a clock that goes back
    assert_int_equal(spy_agents_see(a, "busy", 1, now), SPY_AGENTS_TOO_FAST);
    spy_agents_free(a);
}

static void each_agents_clock_is_shown_while_there_are_few(void **state)
{
    (void)state;
    struct spy_agents *a = spy_agents_new(10, 600 * SPY_NS_PER_SEC, 0);
    _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(4096);
    spy_agents_see(a, "a \"b\"\\\nc", 1, 1000);
    spy_agents_see(a, "silent about its time", 1, 1000);
    assert_int_equal(spy_agents_print_clocks(a, 2, &out), 0);
    assert_int_equal(out.len, 0);
    spy_agents_note_clock(a, "a \"b\"\\\nc", -(int64_t)(2400 * SPY_NS_PER_MS));
    spy_agents_note_clock(a, "unknown", 1);
    assert_int_equal(spy_agents_print_clocks(a, 2, &out), 0);
    assert_non_null(strstr(spy_buf_str(&out), "_seconds{agent=\"a \\\"b\\\"\\\\\\nc\"} -2\n"));
    assert_null(strstr(spy_buf_str(&out), "silent"));
    spy_buf_reset(&out);
    assert_int_equal(spy_agents_print_clocks(a, 1, &out), 0);
    assert_int_equal(out.len, 0);
    spy_agents_free(a);
}

RUN(cmocka_unit_test_setup_teardown(test_types_and_encodings_are_recognized, set_up, tear_down),
    cmocka_unit_test_setup_teardown(
        test_a_body_over_the_small_bounds_is_decoded_with_the_large_ones, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_a_body_over_all_bounds_is_too_large, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_a_profile_without_a_time_gets_the_current_time, set_up,
                                    tear_down),
    cmocka_unit_test_setup_teardown(test_a_time_is_refused_finally_only_where_the_clocks_agree,
                                    set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_rejected_profiles_are_reported_and_the_rest_is_stored_once,
                                    set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_a_profile_without_a_time_confirms_no_clock, set_up,
                                    tear_down),
    cmocka_unit_test_setup_teardown(test_another_version_of_the_signal_is_refused_undecoded, set_up,
                                    tear_down),
    T(test_counters_do_not_go_down),
    cmocka_unit_test_setup_teardown(test_agents_over_the_limit_are_refused_and_store_nothing,
                                    set_up, tear_down),
    T(each_agents_clock_is_shown_while_there_are_few), T(test_a_silent_agent_frees_its_place),
    T(an_agent_over_its_rate_gets_a_retry_after))
