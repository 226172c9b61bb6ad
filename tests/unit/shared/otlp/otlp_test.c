#include "shared/base/mem.h"
#include "shared/otlp/otlp.h"
#include "tests/data/merge.h"
#include "tests/data/synthetic.h"
#include "tests/unit/test.h"
#include <podspy_otlp.pb-c.h>
#include <stdlib.h>
#include <string.h>

struct decoded {
    struct spy_profile **list;
    size_t n;
};

static void decoded_done(struct decoded *d)
{
    for (size_t i = 0; i < d->n; i++)
        spy_profile_free(d->list[i]);
    free(d->list);
    *d = (struct decoded){0};
}

static int decode(const void *data, size_t len, const struct spy_otlp_limits *limits,
                  struct decoded *d, struct spy_err *e)
{
    return spy_otlp_decode(SPY_OTLP_PROTOBUF, data, len, limits ? limits : &spy_otlp_default_limits,
                           &d->list, &d->n, NULL, e);
}

static void encode(const struct spy_profile *p, struct spy_buf *out)
{
    struct spy_err e = {0};
    *out = SPY_BUF_INIT(64 << 20);
    if (spy_otlp_encode(p, NULL, 0, out, &e) < 0)
        fail_msg("%s", e.msg);
}

// --- round trip ---

static void encoded_samples_are_decoded_unchanged(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        _cleanup_profile_ struct spy_profile *p = test_profile_random(seed, 50);
        _cleanup_profile_ struct spy_profile *back = spy_profile_new();
        _cleanup_buf_ struct spy_buf b;
        _cleanup_(decoded_done) struct decoded d = {0};
        struct spy_err e = {0};
        encode(p, &b);
        if (decode(b.data, b.len, NULL, &d, &e) < 0)
            fail_msg("seed %d: %s", (int)seed, e.msg);
        assert_int_equal(d.n, spy_profile_n_series(p));
        for (size_t i = 0; i < d.n; i++) {
            const struct spy_series *x = spy_profile_series_get(p, (uint32_t)i);
            const struct spy_series *y = spy_profile_series_get(d.list[i], 0);
            assert_memory_equal(x->profile_id, y->profile_id, 16);
            assert_memory_equal(&x->quality, &y->quality, sizeof x->quality);
            assert_memory_equal(&x->account, &y->account, sizeof x->account);
            assert_true(x->start_ns == y->start_ns && x->duration_ns == y->duration_ns);
            assert_true(x->period_ns == y->period_ns && x->n_labels == y->n_labels);
            assert_int_equal(merge_profiles(back, d.list[i]), 0);
        }
        _cleanup_free_ char *a = test_profile_spelled(p), *c = test_profile_spelled(back);
        assert_string_equal(a, c);
    }
}

static void series_without_an_id_are_not_sent(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = test_profile_rich();
    _cleanup_buf_ struct spy_buf b;
    _cleanup_(decoded_done) struct decoded d = {0};
    memset(spy_profile_series_at(p, 1)->profile_id, 0, 16);
    encode(p, &b);
    assert_int_equal(decode(b.data, b.len, NULL, &d, NULL), 0);
    assert_int_equal(d.n, 2);
    const char *text = (const char *)b.data;
    assert_null(memmem(text, b.len, "alert(1)", 8)); // nor what only they refer to
    assert_non_null(memmem(text, b.len, "busy_70", 7));
}

static void only_the_series_asked_for_are_sent(void **state)
{
    (void)state;
    enum { FIRST = 1, N = 1 };
    _cleanup_profile_ struct spy_profile *p = test_profile_random(7, 50);
    _cleanup_buf_ struct spy_buf all, some = SPY_BUF_INIT(64 << 20);
    _cleanup_(decoded_done) struct decoded whole = {0}, part = {0};
    static const uint32_t series[N] = {FIRST};
    assert_true(spy_profile_n_series(p) >= FIRST + N);
    encode(p, &all);
    assert_int_equal(spy_otlp_encode(p, series, N, &some, NULL), 0);
    assert_int_equal(decode(all.data, all.len, NULL, &whole, NULL), 0);
    assert_int_equal(decode(some.data, some.len, NULL, &part, NULL), 0);
    assert_true(some.len < all.len);
    assert_int_equal(part.n, N);
    for (size_t i = 0; i < N; i++) {
        const struct spy_profile *a = whole.list[FIRST + i], *b = part.list[i];
        assert_memory_equal(spy_profile_series_get(a, 0)->profile_id,
                            spy_profile_series_get(b, 0)->profile_id, 16);
        assert_int_equal(spy_profile_n_samples(a), spy_profile_n_samples(b));
    }
}

static void labels_of_numbers_come_back_as_they_were(void **state)
{
    (void)state;
    static const char *const pids[] = {"7",   "007", " 7", "",   "99999999999999999999",
                                       "-12", "+7",  "7x", "0x7"};
    for (size_t i = 0; i < SPY_COUNT(pids); i++) {
        _cleanup_profile_ struct spy_profile *p = spy_profile_new();
        _cleanup_buf_ struct spy_buf b;
        _cleanup_(decoded_done) struct decoded d = {0};
        struct spy_label l[2];
        uint32_t id;
        spy_profile_cstr(p, SPY_LABEL_PID, &l[0].key);
        spy_profile_cstr(p, pids[i], &l[0].value);
        spy_profile_cstr(p, SPY_LABEL_HOST, &l[1].key);
        spy_profile_cstr(p, "h", &l[1].value);
        assert_int_equal(spy_profile_series(p, l, 2, &id), 0);
        spy_profile_series_at(p, id)->profile_id[0] = 1;
        encode(p, &b);
        assert_int_equal(decode(b.data, b.len, NULL, &d, NULL), 0);
        assert_string_equal(spy_profile_series_label(d.list[0], 0, SPY_LABEL_PID), pids[i]);
    }
}

static void an_encoder_that_does_not_fit_says_so(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = test_profile_rich();
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(100);
    struct spy_err e = {0};
    assert_int_equal(spy_otlp_encode(p, NULL, 0, &b, &e), SPY_ERR_LIMIT);
    assert_int_equal(b.len, 0);
}

// --- requests made by hand, as other profilers send them ---

struct request {
    Spy__Otlp__ExportProfilesServiceRequest top;
    Spy__Otlp__ResourceProfiles rp, *rps[1];
    Spy__Otlp__ScopeProfiles sp, *sps[1];
    Spy__Otlp__Profile profile, *profiles[1];
    Spy__Otlp__ValueType type, period;
    Spy__Otlp__Sample sample, *samples[1];
    Spy__Otlp__ProfilesDictionary d;
    Spy__Otlp__Stack stack0, stack, *stacks[2];
    Spy__Otlp__Location location0, location, *locations[2];
    Spy__Otlp__Line line, inlined, *lines[2];
    Spy__Otlp__Function function0, function, caller, *functions[3];
    Spy__Otlp__Mapping mapping0, mapping, *mappings[2];
    Spy__Otlp__KeyValueAndUnit attribute0, attribute, *attributes[2];
    Spy__Otlp__AnyValue value;
    Spy__Otlp__Resource resource;
    Spy__Otlp__KeyValue pair, *pairs[1];
    Spy__Otlp__AnyValue pair_value;
    const char *strings[12];
    int32_t stack_ids[1], attribute_ids[1];
    int64_t values[4];
    uint64_t times[3];
    uint8_t id[16];
};

// One profile of one sample of one frame "name (file)", values in nanoseconds, period 10 ms.
static void fill_dictionary(struct request *q)
{
    static const char *const strings[] = {"",        "nanoseconds", "name",      "file",
                                          "libx.so", "wall",        "thread.id", "caller",
                                          "count",   "samples",     "bytes",     "ms"};
    memcpy(q->strings, strings, sizeof strings);
    q->d.string_table = (char **)(uintptr_t)q->strings;
    q->d.n_string_table = SPY_COUNT(strings);
    q->function.name_strindex = 2, q->function.filename_strindex = 3;
    q->caller.name_strindex = 7;
    q->functions[0] = &q->function0, q->functions[1] = &q->function, q->functions[2] = &q->caller;
    q->d.function_table = q->functions, q->d.n_function_table = 3;
    q->line.function_index = 1, q->line.line = 12, q->inlined.function_index = 2;
    q->lines[0] = &q->line, q->lines[1] = &q->inlined;
    q->location.lines = q->lines, q->location.n_lines = 1;
    q->locations[0] = &q->location0, q->locations[1] = &q->location;
    q->d.location_table = q->locations, q->d.n_location_table = 2;
    q->stack_ids[0] = 1;
    q->stack.location_indices = q->stack_ids, q->stack.n_location_indices = 1;
    q->stacks[0] = &q->stack0, q->stacks[1] = &q->stack;
    q->d.stack_table = q->stacks, q->d.n_stack_table = 2;
    q->mapping.filename_strindex = 4;
    q->mappings[0] = &q->mapping0, q->mappings[1] = &q->mapping;
    q->d.mapping_table = q->mappings, q->d.n_mapping_table = 2;
    q->value.value_case = SPY__OTLP__ANY_VALUE__VALUE_INT_VALUE, q->value.int_value = 42;
    q->attribute.key_strindex = 6, q->attribute.value = &q->value;
    q->attributes[0] = &q->attribute0, q->attributes[1] = &q->attribute;
    q->d.attribute_table = q->attributes, q->d.n_attribute_table = 2;
}

static void start(struct request *q)
{
    memset(q, 0, sizeof *q);
    spy__otlp__export_profiles_service_request__init(&q->top);
    spy__otlp__resource_profiles__init(&q->rp);
    spy__otlp__scope_profiles__init(&q->sp);
    spy__otlp__profile__init(&q->profile);
    spy__otlp__value_type__init(&q->type);
    spy__otlp__value_type__init(&q->period);
    spy__otlp__sample__init(&q->sample);
    spy__otlp__profiles_dictionary__init(&q->d);
    spy__otlp__stack__init(&q->stack0), spy__otlp__stack__init(&q->stack);
    spy__otlp__location__init(&q->location0), spy__otlp__location__init(&q->location);
    spy__otlp__line__init(&q->line), spy__otlp__line__init(&q->inlined);
    spy__otlp__function__init(&q->function0), spy__otlp__function__init(&q->function);
    spy__otlp__function__init(&q->caller);
    spy__otlp__mapping__init(&q->mapping0), spy__otlp__mapping__init(&q->mapping);
    spy__otlp__key_value_and_unit__init(&q->attribute0);
    spy__otlp__key_value_and_unit__init(&q->attribute);
    spy__otlp__any_value__init(&q->value);
    spy__otlp__resource__init(&q->resource);
    spy__otlp__key_value__init(&q->pair);
    spy__otlp__any_value__init(&q->pair_value);
    fill_dictionary(q);
    q->pair.key = (char *)(uintptr_t) "service.name"; // NOLINT: only read
    q->pair.value = &q->pair_value;
    q->pair_value.value_case = SPY__OTLP__ANY_VALUE__VALUE_STRING_VALUE;
    q->pair_value.string_value = (char *)(uintptr_t) "checkout"; // NOLINT: only read
    q->pairs[0] = &q->pair;
    q->resource.attributes = q->pairs, q->resource.n_attributes = 1;
    q->rp.resource = &q->resource;
    q->type.unit_strindex = 1, q->period.unit_strindex = 1;
    q->values[0] = 30000000;
    q->sample.values = q->values, q->sample.n_values = 1, q->sample.stack_index = 1;
    q->attribute_ids[0] = 1;
    q->sample.attribute_indices = q->attribute_ids, q->sample.n_attribute_indices = 1;
    q->samples[0] = &q->sample;
    q->profile.samples = q->samples, q->profile.n_samples = 1;
    q->profile.sample_type = &q->type, q->profile.period_type = &q->period;
    q->profile.period = 10000000, q->profile.time_unix_nano = 1000, q->profile.duration_nano = 500;
    memset(q->id, 7, 16);
    q->profile.profile_id.data = q->id, q->profile.profile_id.len = 16;
    q->profiles[0] = &q->profile;
    q->sp.profiles = q->profiles, q->sp.n_profiles = 1;
    q->sps[0] = &q->sp;
    q->rp.scope_profiles = q->sps, q->rp.n_scope_profiles = 1;
    q->rps[0] = &q->rp;
    q->top.resource_profiles = q->rps, q->top.n_resource_profiles = 1;
    q->top.dictionary = &q->d;
}

static int send(struct request *q, const struct spy_otlp_limits *limits, struct decoded *d,
                struct spy_err *e)
{
    size_t n = spy__otlp__export_profiles_service_request__get_packed_size(&q->top);
    _cleanup_free_ uint8_t *bytes = malloc(n + 1);
    assert_non_null(bytes);
    spy__otlp__export_profiles_service_request__pack(&q->top, bytes);
    return decode(bytes, n, limits, d, e);
}

static const struct spy_sample *only_sample(struct request *q, struct decoded *d)
{
    struct spy_err e = {0};
    if (send(q, NULL, d, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(d->n, 1);
    assert_int_equal(spy_profile_n_samples(d->list[0]), 1);
    return spy_profile_sample_at(d->list[0], 0);
}

static void values_in_time_fill_both_time_and_count(void **state)
{
    (void)state;
    struct request q;
    _cleanup_(decoded_done) struct decoded d = {0};
    start(&q);
    const struct spy_sample *s = only_sample(&q, &d);
    assert_int_equal(s->ns, 30000000);
    assert_int_equal(s->count, 3);
    assert_int_equal(s->state, SPY_STATE_RUNNING); // it does not say: it was seen on a CPU
    assert_int_equal(spy_profile_thread_at(d.list[0], s->thread)->tid, 42);
    assert_int_equal(spy_profile_series_get(d.list[0], 0)->period_ns, 10000000);
}

static void units_of_time_are_converted(void **state)
{
    (void)state;
    struct request q;
    _cleanup_(decoded_done) struct decoded d = {0};
    start(&q);
    q.strings[1] = "milliseconds";
    q.values[0] = 40, q.profile.period = 20;
    const struct spy_sample *s = only_sample(&q, &d);
    assert_int_equal(s->ns, 40000000);
    assert_int_equal(s->count, 2);
}

static void time_shorter_than_a_period_is_not_lost(void **state)
{
    (void)state;
    struct request q;
    _cleanup_(decoded_done) struct decoded d = {0};
    start(&q);
    q.values[0] = 1000;
    const struct spy_sample *s = only_sample(&q, &d);
    assert_int_equal(s->ns, 1000);
    assert_int_equal(s->count, 1);
}

static void counts_fill_time_by_the_period(void **state)
{
    (void)state;
    struct request q;
    _cleanup_(decoded_done) struct decoded d = {0};
    start(&q);
    q.type.unit_strindex = 8;
    q.values[0] = 5, q.values[1] = 2, q.values[2] = 0, q.sample.n_values = 3;
    const struct spy_sample *s = only_sample(&q, &d);
    assert_int_equal(s->count, 7);
    assert_int_equal(s->ns, 70000000);
}

static void timestamps_alone_are_samples(void **state)
{
    (void)state;
    struct request q;
    _cleanup_(decoded_done) struct decoded d = {0};
    start(&q);
    q.type.unit_strindex = 8;
    q.sample.n_values = 0;
    q.sample.timestamps_unix_nano = q.times, q.sample.n_timestamps_unix_nano = 3;
    assert_int_equal(only_sample(&q, &d)->count, 3);
}

static void huge_values_do_not_overflow(void **state)
{
    (void)state;
    struct request q;
    _cleanup_(decoded_done) struct decoded d = {0};
    start(&q);
    q.strings[1] = "seconds";
    q.values[0] = q.values[1] = q.values[2] = INT64_MAX, q.sample.n_values = 3;
    q.profile.period = INT64_MAX;
    const struct spy_sample *s = only_sample(&q, &d);
    assert_true(s->ns == INT64_MAX && s->count == 1);
    decoded_done(&d);
    q.type.unit_strindex = 8;
    s = only_sample(&q, &d);
    assert_true(s->ns == UINT64_MAX && s->count == UINT64_MAX);
}

static const struct spy_function *leaf(const struct decoded *d, uint32_t *ret_line)
{
    const struct spy_profile *p = d->list[0];
    uint32_t stack = spy_profile_sample_at(p, 0)->stack;
    const struct spy_frame *f = spy_profile_frame_at(p, spy_profile_stack_at(p, stack)->frame);
    if (ret_line)
        *ret_line = f->line;
    return spy_profile_function_at(p, f->function);
}

static void a_mapping_makes_a_frame_native(void **state)
{
    (void)state;
    struct request q;
    _cleanup_(decoded_done) struct decoded d = {0};
    uint32_t line;
    start(&q);
    only_sample(&q, &d);
    assert_int_equal(leaf(&d, &line)->kind, SPY_FRAME_PYTHON);
    assert_int_equal(line, 12);
    decoded_done(&d);
    q.location.mapping_index = 1;
    only_sample(&q, &d);
    assert_int_equal(leaf(&d, NULL)->kind, SPY_FRAME_NATIVE);
}

static void a_location_without_lines_is_named_by_its_address(void **state)
{
    (void)state;
    struct request q;
    _cleanup_(decoded_done) struct decoded d = {0};
    start(&q);
    q.location.n_lines = 0, q.location.mapping_index = 1, q.location.address = 0xabc;
    only_sample(&q, &d);
    const struct spy_function *f = leaf(&d, NULL);
    assert_string_equal(spy_profile_text(d.list[0], f->name), "0xabc");
    assert_string_equal(spy_profile_text(d.list[0], f->filename), "libx.so");
    assert_int_equal(f->kind, SPY_FRAME_NATIVE);
    decoded_done(&d);
    q.location.mapping_index = 12345;
    assert_int_equal(send(&q, NULL, &d, NULL), SPY_ERR_INVALID);
}

static void inlined_calls_are_frames_innermost_first(void **state)
{
    (void)state;
    struct request q;
    _cleanup_(decoded_done) struct decoded d = {0};
    start(&q);
    q.location.n_lines = 2;
    uint32_t stack = only_sample(&q, &d)->stack;
    assert_string_equal(spy_profile_text(d.list[0], leaf(&d, NULL)->name), "name");
    uint32_t up = spy_profile_stack_at(d.list[0], stack)->parent;
    assert_int_not_equal(up, 0);
    assert_int_equal(spy_profile_stack_at(d.list[0], up)->parent, 0);
}

static void deep_stacks_lose_their_outermost_frames(void **state)
{
    (void)state;
    struct request q;
    _cleanup_(decoded_done) struct decoded d = {0};
    struct spy_otlp_limits limits = spy_otlp_default_limits;
    int32_t ids[100];
    limits.stack_depth = 10;
    start(&q);
    for (int i = 0; i < 100; i++)
        ids[i] = 1;
    for (int lines = 1; lines <= 2; lines++) { // what counts is frames, not locations
        q.location.n_lines = (size_t)lines;
        q.stack.location_indices = ids, q.stack.n_location_indices = 100;
        assert_int_equal(send(&q, &limits, &d, NULL), 0);
        const struct spy_profile *p = d.list[0];
        size_t n = 0;
        uint32_t root = 0;
        for (uint32_t s = spy_profile_sample_at(p, 0)->stack; s; n++) {
            root = s;
            s = spy_profile_stack_at(p, s)->parent;
        }
        assert_int_equal(n, 11);
        const struct spy_frame *f = spy_profile_frame_at(p, spy_profile_stack_at(p, root)->frame);
        assert_string_equal(spy_profile_text(p, spy_profile_function_at(p, f->function)->name),
                            "[truncated]");
        decoded_done(&d);
    }
}

static void a_missing_id_is_made_from_the_bytes(void **state)
{
    (void)state;
    static const uint8_t zero[16];
    struct request q;
    uint8_t first[16];
    start(&q);
    for (int i = 0; i < 4; i++) {
        _cleanup_(decoded_done) struct decoded d = {0};
        q.profile.profile_id.len = 0;
        if (i == 2)
            q.values[0]++; // other bytes
        if (i == 3)
            q.profile.profile_id.len = 16, memset(q.id, 0, 16); // zeroes are not an id either
        only_sample(&q, &d);
        const uint8_t *id = spy_profile_series_get(d.list[0], 0)->profile_id;
        assert_memory_not_equal(id, zero, 16);
        if (i == 0)
            memcpy(first, id, 16);
        else if (i == 1)
            assert_memory_equal(id, first, 16);
        else
            assert_memory_not_equal(id, first, 16);
    }
}

// Each row breaks one thing.
static void break_it(struct request *q, int how)
{
    switch (how) {
    case 0:
        q->sample.stack_index = 2;
        break;
    case 1:
        q->sample.stack_index = -1;
        break;
    case 2:
        q->stack_ids[0] = 2;
        break;
    case 3:
        q->stack_ids[0] = -7;
        break;
    case 4:
        q->line.function_index = 3;
        break;
    case 5:
        q->line.function_index = INT32_MIN;
        break;
    case 6:
        q->function.name_strindex = 12;
        break;
    case 7:
        q->function.filename_strindex = -1;
        break;
    case 8:
        q->attribute_ids[0] = 2;
        break;
    case 9:
        q->attribute.key_strindex = 99;
        break;
    case 10:
        q->profile.profile_id.len = 15;
        break;
    case 11:
        q->profile.time_unix_nano = UINT64_MAX;
        break;
    case 12:
        q->profile.duration_nano = UINT64_MAX;
        break;
    case 13:
        q->top.dictionary = NULL;
        break;
    case 14:
        q->profile.attribute_indices = q->attribute_ids;
        q->attribute_ids[0] = 9;
        q->profile.n_attribute_indices = 1;
        q->sample.n_attribute_indices = 0;
        break;
    default:
        fail();
    }
}

static void each_malformed_reference_is_refused(void **state)
{
    (void)state;
    for (int how = 0; how < 15; how++) {
        struct request q;
        struct spy_err e = {0};
        struct decoded d = {(void *)1, 99};
        start(&q);
        break_it(&q, how);
        if (send(&q, NULL, &d, &e) != SPY_ERR_INVALID)
            fail_msg("%d was taken", how);
        assert_non_null(strstr(e.msg, "not an OTLP profiles request: "));
        assert_ptr_equal(d.list, (void *)1); // untouched
    }
}

static void profiles_of_bytes_are_not_taken_for_samples(void **state)
{
    (void)state;
    struct request q;
    struct decoded d = {0};
    struct spy_err e = {0};
    start(&q);
    q.type.unit_strindex = 10;
    assert_int_equal(send(&q, NULL, &d, &e), SPY_ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "'bytes'"));
}

static void an_empty_body_is_an_empty_request(void **state)
{
    (void)state;
    struct decoded d = {(void *)1, 9};
    assert_int_equal(decode("", 0, NULL, &d, NULL), 0);
    assert_int_equal(d.n, 0);
    assert_null(d.list);
}

static void every_truncation_and_bit_flip_is_handled(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = test_profile_random(5, 30);
    _cleanup_buf_ struct spy_buf b;
    encode(p, &b);
    for (size_t n = 0; n < b.len; n++) {
        struct decoded d = {0};
        struct spy_err e = {0};
        int r = decode(b.data, n, NULL, &d, &e);
        assert_true(r == 0 || (r == SPY_ERR_INVALID && e.msg[0]));
        decoded_done(&d);
    }
    for (size_t n = 0; n < b.len; n++) {
        struct decoded d = {0};
        b.data[n] ^= 0x41;
        decode(b.data, b.len, NULL, &d, NULL);
        decoded_done(&d);
        b.data[n] ^= 0x41;
    }
}

static void decoding_stops_at_each_limit(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = test_profile_rich();
    _cleanup_buf_ struct spy_buf b;
    encode(p, &b);
    for (int i = 0; i < 8; i++) {
        struct spy_otlp_limits l = spy_otlp_default_limits;
        struct decoded d = {0};
        struct spy_err e = {0};
        if (i == 0)
            l.message_bytes = b.len - 1;
        else if (i == 1)
            l.profiles = 2;
        else if (i == 2)
            l.samples = 9;
        else if (i == 3)
            l.caps.stacks = 5;
        else if (i == 4)
            l.arena_bytes = 1000;
        else if (i == 5)
            l.profile_bytes = 4000;
        else if (i == 6)
            l.steps = 300, l.steps_per_byte = 0;
        else
            l.steps_most = 300;
        if (decode(b.data, b.len, &l, &d, &e) != SPY_ERR_LIMIT)
            fail_msg("limit %d did not hold", i);
        assert_int_not_equal(e.msg[0], 0);
    }
}

static void decoding_ends_when_it_is_cancelled(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = test_profile_rich();
    _cleanup_buf_ struct spy_buf b;
    encode(p, &b);
    bool stop = true;
    struct spy_otlp_limits l = spy_otlp_default_limits;
    struct decoded d = {0};
    l.stop = &stop;
    assert_int_equal(decode(b.data, b.len, &l, &d, NULL), SPY_ERR_GONE);
}

// 300 KiB that name one deep stack 4096 times over would become gigabytes.
static void a_small_request_cannot_become_a_large_answer(void **state)
{
    (void)state;
    enum { DEPTH = 16384, N = 4096 };
    struct request q;
    struct decoded d = {0};
    struct spy_err e = {0};
    start(&q);
    static int32_t ids[DEPTH];
    static Spy__Otlp__Profile *many[N];
    for (int i = 0; i < DEPTH; i++)
        ids[i] = 1;
    for (int i = 0; i < N; i++)
        many[i] = &q.profile;
    q.stack.location_indices = ids, q.stack.n_location_indices = DEPTH;
    q.sp.profiles = many, q.sp.n_profiles = N;
    struct spy_otlp_limits memory = spy_otlp_default_limits, work = memory;
    memory.steps = 0; // each bound alone stops it
    work.profile_bytes = 0;
    work.steps /= 8;
    assert_int_equal(send(&q, &memory, &d, &e), SPY_ERR_LIMIT);
    assert_non_null(strstr(e.msg, "bytes"));
    assert_int_equal(send(&q, &work, &d, &e), SPY_ERR_LIMIT);
    assert_non_null(strstr(e.msg, "stacks"));
}

static void wrap(struct spy_buf *b, uint8_t key)
{
    struct spy_buf up = SPY_BUF_INIT(1 << 20);
    size_t n = b->len;
    spy_buf_putc(&up, (char)key);
    for (; n >= 0x80; n >>= 7)
        spy_buf_putc(&up, (char)(n | 0x80));
    spy_buf_putc(&up, (char)n);
    spy_buf_append(&up, b->data, b->len);
    spy_buf_free(b);
    *b = up;
}

// A value inside of depth lists, or of as many maps.
static void nest(struct spy_buf *b, int depth, bool maps)
{
    for (int i = 0; i < depth; i++) {
        if (maps)
            wrap(b, 0x12); // KeyValue.value
        wrap(b, 0x0a);     // values
        wrap(b, maps ? 0x32 : 0x2a);
    }
}

static void values_that_nest_without_end_are_refused(void **state)
{
    (void)state;
    for (int maps = 0; maps < 2; maps++)
        for (int deep = 0; deep < 2; deep++) {
            _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(1000);
            _cleanup_(decoded_done) struct decoded d = {0};
            struct spy_err e = {0};
            spy_buf_append(&b, "\x18\x01", 2); // int_value 1
            nest(&b, deep ? 500 : 5, maps);
            wrap(&b, 0x12); // KeyValue.value
            wrap(&b, 0x0a); // Resource.attributes
            wrap(&b, 0x0a); // ResourceProfiles.resource
            wrap(&b, 0x0a); // resource_profiles
            assert_int_equal(decode(b.data, b.len, NULL, &d, &e), deep ? SPY_ERR_INVALID : 0);
            assert_true(!deep || strstr(e.msg, "nested too deeply"));
        }
}

// A function can be called anything: bytes that look like nesting are still a name.
static void a_name_that_looks_like_nesting_is_a_name(void **state)
{
    (void)state;
    struct request q;
    _cleanup_(decoded_done) struct decoded d = {0};
    char name[200] = "";
    size_t n = 0;
    start(&q);
    for (int left = 100; left > 10; left -= 2) {
        name[n++] = '*';
        name[n++] = (char)left;
    }
    memset(name + n, ' ', 100);
    q.strings[2] = name;
    only_sample(&q, &d);
    assert_string_equal(spy_profile_text(d.list[0], leaf(&d, NULL)->name), name);
}

// --- the answer ---

static void an_encoded_answer_is_decoded_unchanged(void **state)
{
    (void)state;
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(1000);
    uint64_t rejected = 9;
    char text[8] = "?";
    assert_int_equal(spy_otlp_encode_response(SPY_OTLP_PROTOBUF, 0, "", &b), 0);
    assert_int_equal(b.len, 0);
    assert_int_equal(spy_otlp_decode_response(b.data, 0, &rejected, text, sizeof text), 0);
    assert_int_equal(rejected, 0);
    assert_string_equal(text, "");
    assert_int_equal(spy_otlp_encode_response(SPY_OTLP_PROTOBUF, 3, "too old, all", &b), 0);
    assert_int_equal(spy_otlp_decode_response(b.data, b.len, &rejected, text, sizeof text), 0);
    assert_int_equal(rejected, 3);
    assert_string_equal(text, "too old");
    rejected = 5;
    assert_int_equal(spy_otlp_decode_response((const uint8_t *)"<html>", 6, &rejected, text, 8),
                     SPY_ERR_INVALID);
    assert_int_equal(rejected, 5);
}

RUN(T(encoded_samples_are_decoded_unchanged), T(series_without_an_id_are_not_sent),
    T(only_the_series_asked_for_are_sent), T(labels_of_numbers_come_back_as_they_were),
    T(an_encoder_that_does_not_fit_says_so), T(values_in_time_fill_both_time_and_count),
    T(units_of_time_are_converted), T(time_shorter_than_a_period_is_not_lost),
    T(counts_fill_time_by_the_period), T(timestamps_alone_are_samples),
    T(huge_values_do_not_overflow), T(a_mapping_makes_a_frame_native),
    T(a_location_without_lines_is_named_by_its_address),
    T(inlined_calls_are_frames_innermost_first), T(deep_stacks_lose_their_outermost_frames),
    T(a_missing_id_is_made_from_the_bytes), T(each_malformed_reference_is_refused),
    T(profiles_of_bytes_are_not_taken_for_samples), T(an_empty_body_is_an_empty_request),
    T(every_truncation_and_bit_flip_is_handled), T(decoding_stops_at_each_limit),
    T(decoding_ends_when_it_is_cancelled), T(a_small_request_cannot_become_a_large_answer),
    T(values_that_nest_without_end_are_refused), T(a_name_that_looks_like_nesting_is_a_name),
    T(an_encoded_answer_is_decoded_unchanged))
