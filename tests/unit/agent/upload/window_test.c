// From a profile to files in the spool: ids, losses, large windows. No collector runs here.
#include "agent/upload/spool.h"
#include "agent/upload/upload.h"
#include "folder.h"
#include "shared/base/clock.h"
#include "shared/base/compress.h"
#include "shared/base/mem.h"
#include "shared/otlp/otlp.h"
#include "tests/data/merge.h"
#include "tests/unit/test.h"

enum { ROOMY = 4 << 20 };

static struct spy_upload *start(const struct folder *f, uint64_t spool_bytes, uint64_t body_bytes)
{
    struct spy_err err = {0};
    struct spy_upload *u = NULL;
    struct spy_upload_options o = {.url = "http://127.0.0.1:1", // nothing listens on tcpmux
                                   .spool_dir = f->path,
                                   .spool_bytes = spool_bytes,
                                   .timeout_ns = SPY_NS_PER_SEC,
                                   .body_bytes = body_bytes};
    if (spy_upload_new(&o, &u, &err) < 0)
        fail_msg("%s", err.msg);
    return u;
}

static uint32_t add_series(struct spy_profile *p, const char *pid)
{
    struct spy_label l;
    uint32_t id;
    assert_int_equal(spy_profile_cstr(p, SPY_LABEL_PID, &l.key), 0);
    assert_int_equal(spy_profile_cstr(p, pid, &l.value), 0);
    assert_int_equal(spy_profile_series(p, &l, 1, &id), 0);
    return id;
}

static void add_samples(struct spy_profile *p, uint32_t series, const char *function, uint64_t n)
{
    struct spy_function f = {.kind = SPY_FRAME_PYTHON};
    struct spy_frame frame = {0};
    uint32_t id, stack;
    assert_int_equal(spy_profile_cstr(p, function, &f.name), 0);
    assert_int_equal(spy_profile_function(p, &f, &frame.function), 0);
    assert_int_equal(spy_profile_frame(p, frame, &id), 0);
    assert_int_equal(spy_profile_stack(p, 0, id, &stack), 0);
    assert_int_equal(spy_profile_add(p, series, stack, 0, 0, n, 0), 0);
    struct spy_series *s = spy_profile_series_at(p, series);
    s->start_ns = 1700000000 * SPY_NS_PER_SEC;
    s->duration_ns = 10 * SPY_NS_PER_SEC;
    s->period_ns = 10 * SPY_NS_PER_MS;
    s->quality.clean += n;
}

// Merges all that the spool holds into one profile; returns the number of requests.
static size_t read_spool(const struct folder *f, struct spy_profile *all)
{
    struct spy_spool *s;
    size_t n = 0;
    uint64_t seq;
    assert_int_equal(spy_spool_open(f->path, ROOMY, &s, NULL), 0);
    _cleanup_buf_ struct spy_buf body = SPY_BUF_INIT(ROOMY), raw = SPY_BUF_INIT(64 << 20);
    while (spy_spool_next(s, &seq, &body, NULL) == 0) {
        struct spy_profile **list;
        size_t n_list;
        assert_int_equal(spy_decompress(SPY_ENCODING_ZSTD, body.data, body.len, &raw, NULL), 0);
        assert_int_equal(spy_otlp_decode(SPY_OTLP_PROTOBUF, raw.data, raw.len,
                                         &spy_otlp_default_limits, &list, &n_list, NULL, NULL),
                         0);
        for (size_t i = 0; i < n_list; i++) {
            assert_int_equal(merge_profiles(all, list[i]), 0);
            spy_profile_free(list[i]);
        }
        free(list);
        spy_spool_settle(s, seq, SPY_SPOOL_SENT);
        spy_buf_reset(&body);
        spy_buf_reset(&raw);
        n++;
    }
    spy_spool_close(s);
    return n;
}

static const struct spy_series *series_of(struct spy_profile *p, const char *pid)
{
    return spy_profile_series_get(p, add_series(p, pid));
}

static void only_series_with_samples_or_losses_get_an_id(void **state)
{
    static const uint8_t zero[16];
    struct spy_upload *u = start(*state, ROOMY, 0);
    struct spy_profile *p = spy_profile_new(), *all = spy_profile_new();
    uint32_t busy = add_series(p, "1"), idle = add_series(p, "2"), broken = add_series(p, "3");
    add_samples(p, busy, "work", 7);
    spy_profile_series_at(p, broken)->quality.failed = 4;
    assert_int_equal(spy_upload_window(u, p, NULL), 0);
    const uint8_t *a = spy_profile_series_get(p, busy)->profile_id,
                  *b = spy_profile_series_get(p, broken)->profile_id;
    assert_memory_not_equal(a, zero, 16);
    assert_memory_not_equal(b, zero, 16);
    assert_memory_not_equal(a, b, 16);
    assert_memory_equal(spy_profile_series_get(p, idle)->profile_id, zero, 16);
    spy_upload_free(u);
    assert_int_equal(read_spool(*state, all), 1);
    assert_int_equal(spy_profile_n_series(all), 2);
    assert_int_equal(series_of(all, "3")->quality.failed, 4);
    spy_profile_free(p);
    spy_profile_free(all);
}

static void an_empty_window_sends_nothing(void **state)
{
    struct spy_upload *u = start(*state, ROOMY, 0);
    struct spy_profile *p = spy_profile_new();
    add_series(p, "1");
    assert_int_equal(spy_upload_window(u, p, NULL), 0);
    assert_int_equal(spy_upload_flush(u, 0), 0);
    assert_int_equal(folder_count(*state, ".window"), 0);
    spy_upload_free(u);
    spy_profile_free(p);
}

static void a_large_window_goes_in_several_requests_of_whole_series(void **state)
{
    enum { SERIES = 8, FUNCTIONS = 300, BODY = 12000 };
    struct spy_upload *u = start(*state, ROOMY, BODY);
    struct spy_profile *p = spy_profile_new(), *all = spy_profile_new();
    for (unsigned i = 0; i < SERIES; i++) {
        char pid[16], function[64];
        snprintf(pid, sizeof pid, "%u", i);
        uint32_t id = add_series(p, pid);
        for (unsigned j = 0; j < FUNCTIONS; j++) {
            uint64_t noise[2];
            spy_random_bytes(noise, sizeof noise); // so that it does not compress to nothing
            snprintf(function, sizeof function, "f%llx%llx", (unsigned long long)noise[0],
                     (unsigned long long)noise[1]);
            add_samples(p, id, function, 1);
        }
    }
    assert_int_equal(spy_upload_window(u, p, NULL), 0);
    spy_upload_free(u);
    assert_true(read_spool(*state, all) > 1);
    assert_int_equal(spy_profile_n_series(all), SERIES);
    assert_int_equal(spy_profile_n_samples(all), SERIES * FUNCTIONS);
    spy_profile_free(p);
    spy_profile_free(all);
}

static void a_series_over_the_limit_is_lost_and_reported_in_the_next_window(void **state)
{
    struct spy_upload *u = start(*state, ROOMY, 1200);
    struct spy_profile *p = spy_profile_new(), *all = spy_profile_new();
    uint32_t large = add_series(p, "1"), small = add_series(p, "2");
    struct spy_err err = {0};
    for (unsigned j = 0; j < 300; j++) {
        char function[64];
        snprintf(function, sizeof function, "f%u", j * 7919);
        add_samples(p, large, function, 2);
    }
    add_samples(p, small, "g", 5);
    assert_int_equal(spy_upload_window(u, p, &err), SPY_ERR_LIMIT);
    spy_profile_reset_window(p);
    add_samples(p, small, "g", 5);
    assert_int_equal(spy_upload_window(u, p, NULL), 0);
    assert_int_equal(spy_profile_series_get(p, large)->quality.lost, 600);
    spy_upload_free(u);
    read_spool(*state, all);
    assert_int_equal(series_of(all, "1")->quality.lost, 600);
    assert_int_equal(series_of(all, "1")->quality.clean, 0);
    assert_int_equal(series_of(all, "2")->quality.clean, 10);
    spy_profile_free(p);
    spy_profile_free(all);
}

static void every_sample_is_in_the_spool_or_reported_as_lost(void **state)
{
    enum { WINDOWS = 40 };
    struct spy_profile *all = spy_profile_new();
    struct spy_spool *s;
    // Three runs, each with a profile of its own, so that processes of one are not known to the
    // next.
    uint64_t taken = 0, there = 0;
    for (unsigned i = 0; i < WINDOWS; i++) {
        struct spy_upload *u = start(*state, 5 * 4096, 0);
        struct spy_profile *p = spy_profile_new();
        char pid[16];
        snprintf(pid, sizeof pid, "%u", i / 3);
        add_samples(p, add_series(p, pid), "work", i + 1);
        taken += i + 1;
        assert_int_equal(spy_upload_window(u, p, NULL), 0);
        spy_profile_free(p);
        spy_upload_free(u);
    }
    assert_int_equal(spy_spool_open(((struct folder *)*state)->path, ROOMY, &s, NULL), 0);
    const struct spy_losses *l = spy_spool_losses(s);
    for (size_t i = 0; i < l->n; i++)
        there += l->rows[i].samples;
    spy_spool_close(s);
    read_spool(*state, all);
    for (uint32_t i = 0; i < spy_profile_n_series(all); i++) {
        const struct spy_series *series = spy_profile_series_get(all, i);
        there += series->quality.clean + series->quality.lost;
        assert_true(series->start_ns != 0);
    }
    assert_int_equal(there, taken);
    spy_profile_free(all);
}

static void labels_over_the_size_of_a_file_are_split_over_several(void **state)
{
    enum {
        SERIES = 80,
        LEN = 1 << 20
    }; // a profile holds a text once, a file of the spool each time
    struct spy_upload *u = start(*state, ROOMY, 0);
    struct spy_profile *p = spy_profile_new(), *all = spy_profile_new();
    char *text = malloc(LEN);
    memset(text, 'x', LEN);
    // Of the second window the labels are too much even to list it.
    for (unsigned n = SERIES / 2; n <= SERIES; n += SERIES / 2) {
        for (unsigned i = 0; i < n; i++) {
            struct spy_label l[2];
            char pid[16];
            uint32_t id;
            snprintf(pid, sizeof pid, "%u", i);
            assert_int_equal(spy_profile_cstr(p, SPY_LABEL_PID, &l[0].key), 0);
            assert_int_equal(spy_profile_cstr(p, pid, &l[0].value), 0);
            assert_int_equal(spy_profile_cstr(p, SPY_LABEL_COMMAND, &l[1].key), 0);
            assert_int_equal(spy_profile_string(p, text, LEN, &l[1].value), 0);
            assert_int_equal(spy_profile_series(p, l, 2, &id), 0);
            add_samples(p, id, "work", 3);
        }
        int64_t before = spy_metric_get(&spy_spool_counts.lost_samples);
        int r = spy_upload_window(u, p, NULL);
        assert_int_equal(r, n == SERIES ? SPY_ERR_LIMIT : 0);
        assert_int_equal(spy_metric_get(&spy_spool_counts.lost_samples) - before,
                         n == SERIES ? 3 * SERIES : 0);
        spy_profile_reset_window(p);
    }
    free(text);
    spy_upload_free(u);
    assert_int_equal(read_spool(*state, all), 2);
    assert_int_equal(spy_profile_n_series(all), SERIES / 2);
    spy_profile_free(p);
    spy_profile_free(all);
}

// One allocation of this thread fails: the first when it is 0, the next when it is 1, ...
static __thread long allocations = -1;
static bool has_failed(void)
{
    return allocations >= 0 && allocations-- == 0;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);

void *__wrap_malloc(size_t size)
{
    return has_failed() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return has_failed() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return has_failed() ? NULL : __real_realloc(p, size);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
    return has_failed() ? NULL : __real_reallocarray(p, n, size);
}

static void every_sample_is_counted_when_memory_runs_out(void **state)
{
    struct spy_upload *u = start(*state, ROOMY, 0);
    struct spy_profile *all = spy_profile_new();
    uint64_t taken = 0, there = 0;
    int64_t lost = spy_metric_get(&spy_spool_counts.lost_samples);
    unsigned failures = 0;
    bool reached = true;
    for (long nth = 0; reached; nth++) {
        struct spy_profile *p = spy_profile_new();
        add_samples(p, add_series(p, "1"), "work", 3);
        add_samples(p, add_series(p, "2"), "work", 4);
        taken += 7;
        allocations = nth;
        failures += spy_upload_window(u, p, NULL) < 0;
        reached = allocations < 0;
        allocations = -1;
        spy_profile_free(p);
    }
    spy_upload_free(u);
    assert_in_range(failures, 5, 1000);
    lost = spy_metric_get(&spy_spool_counts.lost_samples) - lost;
    assert_int_equal(lost, 7 * failures);
    read_spool(*state, all);
    for (uint32_t i = 0; i < spy_profile_n_series(all); i++) {
        const struct spy_series *series = spy_profile_series_get(all, i);
        there += series->quality.clean + series->quality.lost;
    }
    assert_int_equal(there, taken); // the last window went well, and told of all losses before it
    spy_profile_free(all);
}

static void two_uploads_on_one_folder_are_refused(void **state)
{
    struct spy_upload *u = start(*state, ROOMY, 0), *other = NULL;
    struct spy_upload_options o = {.url = "http://127.0.0.1:1",
                                   .spool_dir = ((struct folder *)*state)->path,
                                   .spool_bytes = ROOMY};
    assert_int_equal(spy_upload_new(&o, &other, NULL), SPY_ERR_AGAIN);
    o.url = "http://collector:80";
    assert_int_equal(spy_upload_new(&o, &other, NULL), SPY_ERR_USAGE);
    assert_null(other);
    spy_upload_free(u);
}

static void a_flush_without_a_collector_ends_in_time(void **state)
{
    struct spy_upload *u = start(*state, ROOMY, 0);
    struct spy_profile *p = spy_profile_new();
    add_samples(p, add_series(p, "1"), "work", 1);
    assert_int_equal(spy_upload_window(u, p, NULL), 0);
    uint64_t before = spy_clock_mono_ns();
    assert_int_equal(spy_upload_flush(u, 300 * SPY_NS_PER_MS), SPY_ERR_AGAIN);
    spy_upload_free(u);
    assert_true(spy_clock_mono_ns() - before < 5 * SPY_NS_PER_SEC);
    assert_int_equal(folder_count(*state, ".window"), 1);
    spy_profile_free(p);
}

#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_make, folder_remove)

RUN(IN_A_FOLDER(only_series_with_samples_or_losses_get_an_id),
    IN_A_FOLDER(an_empty_window_sends_nothing),
    IN_A_FOLDER(a_large_window_goes_in_several_requests_of_whole_series),
    IN_A_FOLDER(a_series_over_the_limit_is_lost_and_reported_in_the_next_window),
    IN_A_FOLDER(every_sample_is_in_the_spool_or_reported_as_lost),
    IN_A_FOLDER(labels_over_the_size_of_a_file_are_split_over_several),
    IN_A_FOLDER(every_sample_is_counted_when_memory_runs_out),
    IN_A_FOLDER(two_uploads_on_one_folder_are_refused),
    IN_A_FOLDER(a_flush_without_a_collector_ends_in_time))
