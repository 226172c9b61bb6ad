// Several threads read what one reads.
#include "collector/query/query.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROCESSES = 24, EACH = 60, START = 1700000000 };

static char folder[] = "/tmp/podspy-load-XXXXXX";
static struct spy_store *store;

// Process n: in the pod n / 2, but for the last four, which have none. 60 windows make the 1024
// that are worth dividing.
static struct spy_profile *make_window(unsigned n, unsigned at)
{
    struct spy_profile *p = spy_profile_new();
    struct spy_label labels[2];
    char text[64];
    uint32_t series = 0, thread = 0, name = 0, stack = 0;
    size_t n_labels = 1;
    spy_profile_cstr(p, SPY_LABEL_PID, &labels[0].key);
    snprintf(text, sizeof text, "%u", 100 + n);
    spy_profile_cstr(p, text, &labels[0].value);
    if (n < PROCESSES - 4) {
        spy_profile_cstr(p, SPY_LABEL_POD, &labels[1].key);
        snprintf(text, sizeof text, "pod-%u", n / 2);
        spy_profile_cstr(p, text, &labels[n_labels++].value);
    }
    assert_int_equal(spy_profile_series(p, labels, n_labels, &series), 0);
    struct spy_series *s = spy_profile_series_at(p, series);
    memcpy(s->profile_id, (uint64_t[2]){n, at + 1}, 16);
    s->start_ns = (START + 10ull * at) * SPY_NS_PER_SEC;
    s->duration_ns = 10 * SPY_NS_PER_SEC;
    s->period_ns = 10 * SPY_NS_PER_MS;
    s->quality.clean = n + 1;
    for (unsigned d = 0; d < 4; d++) {
        uint32_t function = 0, frame = 0;
        snprintf(text, sizeof text, "f%u", d < 3 ? d : (n * 7 + at) % 11);
        spy_profile_cstr(p, text, &name);
        spy_profile_function(p, &(struct spy_function){.name = name}, &function);
        spy_profile_frame(p, (struct spy_frame){function, d}, &frame);
        spy_profile_stack(p, stack, frame, &stack);
    }
    spy_profile_thread(p, 7 + at % 3, name, &thread);
    spy_profile_add(p, series, stack, thread, at % 2, 1 + n + at, (1 + n + at) * s->period_ns);
    return p;
}

static int fill_store(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    struct spy_err err = {0};
    size_t known;
    assert_int_equal(spy_store_open("sqlite", folder, 1000, 16 << 20, &store, &err), 0);
    for (unsigned at = 0; at < EACH; at++) {
        struct spy_profile *batch[PROCESSES];
        for (unsigned n = 0; n < PROCESSES; n++)
            batch[n] = make_window(n, at);
        assert_int_equal(spy_store_append(store, batch, PROCESSES, &known, NULL, &err), 0);
        for (unsigned n = 0; n < PROCESSES; n++)
            spy_profile_free(batch[n]);
    }
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    char command[128];
    spy_store_close(store);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

// The answer to format=collapsed with a frame for each process and thread, in which all counts stand.
static int ask(const char *name, const char *value, unsigned workers, size_t memory,
               struct spy_buf *body, char *message)
{
    char from[32];
    snprintf(from, sizeof from, "%d", START);
    struct spy_param params[] = {{"format", "collapsed"}, {"idle", "1"},  {"threads", "1"},
                                 {"processes", "1"},      {"from", from}, {name, value}};
    struct spy_err err = {0};
    struct spy_answer a = {.body = body};
    struct spy_question q = {.store = store,
                             .params = params,
                             .n_params = name ? 6 : 5,
                             .accept = "",
                             .memory = memory,
                             .workers = workers,
                             .now_ns = (START + 3600ull) * SPY_NS_PER_SEC};
    int r = spy_query_answer("/profiles", &q, &a, &err);
    snprintf(message, 240, "%s", err.msg);
    return r;
}

static uint64_t sum_counts(const char *text)
{
    uint64_t sum = 0;
    for (const char *end; (end = strchr(text, '\n')); text = end + 1) {
        const char *number = end;
        while (number[-1] != ' ')
            number--;
        sum += strtoull(number, NULL, 10);
    }
    return sum;
}

static void several_threads_read_what_one_reads(void **state)
{
    (void)state;
    const char *const selected[][2] = {
        {NULL, NULL}, {"pod", "pod-1*"}, {"pod", "pod-3"}, {"pid", "1*"}, {"thread", "8"}};
    for (size_t i = 0; i < SPY_COUNT(selected); i++)
        for (unsigned workers = 1; workers <= 9; workers += 4) {
            _cleanup_buf_ struct spy_buf one = SPY_BUF_INIT(1 << 22), many = SPY_BUF_INIT(1 << 22);
            char message[240];
            assert_int_equal(ask(selected[i][0], selected[i][1], 0, 1 << 28, &one, message), 0);
            assert_int_equal(ask(selected[i][0], selected[i][1], workers, 1 << 28, &many, message),
                             0);
            assert_string_equal(spy_buf_str(&one), spy_buf_str(&many));
        }
}

static void everything_is_what_was_stored(void **state)
{
    (void)state;
    uint64_t stored = 0;
    _cleanup_buf_ struct spy_buf body = SPY_BUF_INIT(1 << 22);
    char message[240];
    for (unsigned n = 0; n < PROCESSES; n++)
        for (unsigned at = 0; at < EACH; at++)
            stored += 1 + n + at;
    assert_int_equal(ask(NULL, NULL, 4, 1 << 28, &body, message), 0);
    assert_int_equal(sum_counts(spy_buf_str(&body)), stored);
}

static void errors_are_those_of_one_thread(void **state)
{
    (void)state;
    char one[240], many[240];
    _cleanup_buf_ struct spy_buf body = SPY_BUF_INIT(1 << 22);
    assert_int_equal(ask(NULL, NULL, 0, 1000, &body, one), SPY_ERR_LIMIT);
    assert_int_equal(ask(NULL, NULL, 4, 1000, &body, many), SPY_ERR_LIMIT);
    assert_string_equal(one, many);
    assert_int_equal(ask("pod", "nobody", 4, 1 << 28, &body, many), SPY_ERR_NOTFOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_threads_read_what_one_reads),
        cmocka_unit_test(everything_is_what_was_stored),
        cmocka_unit_test(errors_are_those_of_one_thread),
    };
    return cmocka_run_group_tests(tests, fill_store, remove_files);
}
