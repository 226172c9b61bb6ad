// A question of Grafana, by any of its methods: the first byte chooses. The store behind it answers
// with one series, whose windows lie at the Unix epoch.
#include "collector/grafana/querier.h"
#include "shared/base/clock.h"
#include "tests/fuzz/fuzz.h"
#include <podspy_querier.pb-c.h>
#include <string.h>

static int fill_profile(struct spy_store *s, const struct spy_select *select, struct spy_profile *p,
                        struct spy_err *err)
{
    uint32_t key, value, series, stack = 0;
    (void)s, (void)err;
    MUST(select->n <= SPY_SELECT_MAX && select->from_ns < select->until_ns);
    if (select->from_ns > 60 * SPY_NS_PER_SEC)
        return 0;
    spy_profile_cstr(p, "service.name", &key);
    spy_profile_cstr(p, "checkout", &value);
    spy_profile_series(p, &(struct spy_label){key, value}, 1, &series);
    *spy_profile_series_at(p, series) =
        (struct spy_series){.first_label = spy_profile_series_get(p, series)->first_label,
                            .n_labels = 1,
                            .start_ns = 1,
                            .duration_ns = 60 * SPY_NS_PER_SEC};
    for (uint32_t i = 0; i < 20; i++) {
        struct spy_function f = {.name = i % 2 ? key : value, .start_line = i};
        uint32_t function, frame;
        spy_profile_function(p, &f, &function);
        spy_profile_frame(p, (struct spy_frame){function, i}, &frame);
        spy_profile_stack(p, i % 5 ? stack : 0, frame, &stack);
        spy_profile_add(p, series, stack, 0, i & 1, i, i ? UINT64_MAX / i : 0);
    }
    return 0;
}

static int list_process(struct spy_store *s, const struct spy_select *select,
                        spy_store_process_fn fn, void *arg, struct spy_err *err)
{
    static const struct spy_store_process rows[] = {
        {.labels_json = "{\"service.name\": \"checkout\", \"x-y\": \"z\"}", .samples = 1},
        {.labels_json = "{\"podspy.sample.type\": \"off_cpu\", \"n\": 1}", .samples = 1},
        {.labels_json = "{"},
    };
    (void)s, (void)err;
    MUST(select->n <= SPY_SELECT_MAX && select->from_ns < select->until_ns);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        fn(arg, &rows[i]);
    return 0;
}

static const ProtobufCMessageDescriptor *const answers[] = {
    &spy__querier__profile_types_response__descriptor,
    &spy__querier__label_names_response__descriptor,
    &spy__querier__label_values_response__descriptor,
    &spy__querier__select_series_response__descriptor,
    &spy__querier__select_merge_stacktraces_response__descriptor,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct spy_store_backend backend = {.query = fill_profile,
                                                     .processes = list_process};
    struct spy_store store = {.backend = &backend};
    struct spy_buf out = SPY_BUF_INIT(4 << 20);
    struct spy_err err = {0};
    if (!size)
        return 0;
    size_t method = data[0] % 5;
    struct spy_querier_call c = {.store = &store,
                                 .body = data + 1,
                                 .len = size - 1,
                                 .memory = 16 << 20,
                                 .rows_max = 20000,
                                 .now_ns = 1700000000 * SPY_NS_PER_SEC};
    int r = spy_querier_answer(spy_querier_methods[method]->path, &c, &out, &err);
    if (r == 0) {
        ProtobufCMessage *m = protobuf_c_message_unpack(answers[method], NULL, out.len,
                                                        out.data ? out.data : (const uint8_t *)"");
        MUST(m);
        protobuf_c_message_free_unpacked(m, NULL);
    } else {
        unsigned status;
        MUST(*err.msg && *spy_querier_code(r, &status) && status >= 400);
    }
    spy_buf_free(&out);
    return 0;
}
