#include "collector/ingest/agents.h"
#include "collector/ingest/ingest.h"
#include "shared/base/clock.h"
#include "shared/base/compress.h"
#include "shared/otlp/otlp.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

struct fixture {
    char dir[64];
    struct spy_store *store;
    struct spy_ingest *in;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/podspy-ingest-XXXXXX");
    *state = f;
    if (!mkdtemp(f->dir) || spy_store_sqlite_open(f->dir, 1000, &f->store, NULL) < 0)
        return -1;
    struct spy_ingest_options o = {.store = f->store, .body_max = 4 << 20, .agents_max = 2};
    return spy_ingest_new(&o, &f->in, NULL);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"podspy.db", "podspy.db-wal", "podspy.db-shm",
                                        "podspy.lock"};
    spy_ingest_free(f->in);
    f->store->ops->close(f->store);
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
    assert_int_equal(spy_otlp_encode(p, &b, NULL), 0);
    spy_profile_free(p);
    return b;
}

static enum spy_ingest_outcome take(struct fixture *f, const struct spy_buf *b, const char *type,
                                    const char *encoding)
{
    struct spy_buf answer = SPY_BUF_INIT(4096);
    struct spy_err err = {0};
    struct spy_ingest_body body = {type, encoding, b->data ? b->data : (const uint8_t *)"", b->len};
    enum spy_ingest_outcome o = spy_ingest_take(f->in, &body, &answer, &err);
    if (o != SPY_INGEST_TAKEN)
        assert_true(err.msg[0]);
    spy_buf_free(&answer);
    return o;
}

#define PROTOBUF "application/x-protobuf"

static uint64_t stored(struct fixture *f)
{
    struct spy_select all = {.until_ns = INT64_MAX};
    struct spy_profile *p = spy_profile_new();
    assert_int_equal(f->store->ops->query(f->store, &all, p, NULL), 0);
    uint64_t n = 0;
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++)
        n += spy_profile_sample_at(p, i)->count;
    spy_profile_free(p);
    return n;
}

static void test_types_and_encodings(void **state)
{
    struct fixture *f = *state;
    struct spy_buf b = body_of("n", 3, spy_clock_real_ns());
    assert_int_equal(take(f, &b, "application/json", ""), SPY_INGEST_BAD_TYPE);
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

static void test_a_body_past_the_small_bounds_is_decoded_with_the_large_ones(void **state)
{
    struct fixture *f = *state;
    struct spy_buf b = body_of("n", 20000, spy_clock_real_ns());
    assert_true(b.len > SPY_INGEST_SMALL);
    assert_int_equal(take(f, &b, PROTOBUF, ""), SPY_INGEST_TAKEN);
    assert_int_equal(stored(f), 20000);
    spy_buf_free(&b);
}

static void test_a_body_past_all_bounds_is_too_large(void **state)
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

static void test_times_that_cannot_be_are_refused_and_missing_ones_are_now(void **state)
{
    struct fixture *f = *state;
    uint64_t now = spy_clock_real_ns();
    struct spy_buf future = body_of("n", 1, now + 2 * 3600 * SPY_NS_PER_SEC);
    struct spy_buf never = body_of("n", 1, UINT64_MAX - 5);
    struct spy_buf none = body_of("n", 1, 0);
    assert_int_equal(take(f, &future, PROTOBUF, ""), SPY_INGEST_MALFORMED);
    assert_int_equal(take(f, &never, PROTOBUF, ""), SPY_INGEST_MALFORMED);
    assert_int_equal(take(f, &none, PROTOBUF, ""), SPY_INGEST_TAKEN);
    struct spy_select lately = {.from_ns = now - 60 * SPY_NS_PER_SEC, .until_ns = INT64_MAX};
    struct spy_profile *p = spy_profile_new();
    assert_int_equal(f->store->ops->query(f->store, &lately, p, NULL), 0);
    assert_int_equal(spy_profile_n_samples(p), 1);
    spy_profile_free(p);
    spy_buf_free(&future);
    spy_buf_free(&never);
    spy_buf_free(&none);
}

static void test_agents_past_the_limit_are_refused_and_store_nothing(void **state)
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

static void test_an_agent_that_was_silent_makes_room(void **state)
{
    (void)state;
    struct spy_agents *a = spy_agents_new(2, 600);
    char longest[1000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_true(spy_agents_see(a, "one", 1000));
    assert_true(spy_agents_see(a, longest, 1100));
    assert_false(spy_agents_see(a, "three", 1200));
    assert_true(spy_agents_see(a, longest, 1500));
    assert_false(spy_agents_see(a, "three", 1599));
    assert_true(spy_agents_see(a, "three", 1620)); // "one" was silent for 620
    assert_false(spy_agents_see(a, "one", 1640));
    assert_int_equal(spy_agents_count(a), 2);
    spy_agents_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_types_and_encodings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_a_body_past_the_small_bounds_is_decoded_with_the_large_ones, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_body_past_all_bounds_is_too_large, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            test_times_that_cannot_be_are_refused_and_missing_ones_are_now, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_agents_past_the_limit_are_refused_and_store_nothing,
                                        set_up, tear_down),
        cmocka_unit_test(test_an_agent_that_was_silent_makes_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
