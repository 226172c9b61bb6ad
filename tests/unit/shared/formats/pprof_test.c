#include "pprof.pb-c.h"
#include "shared/base/compress.h"
#include "shared/base/mem.h"
#include "shared/formats/format.h"
#include "tests/data/synthetic.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void free_message(Spy__Pprof__Profile *m)
{
    spy__pprof__profile__free_unpacked(m, NULL);
}
SPY_CLEANUP(message_done, Spy__Pprof__Profile, free_message)

static Spy__Pprof__Profile *print_pprof(const struct spy_profile *p, const struct spy_view *v)
{
    _cleanup_buf_ struct spy_buf packed = SPY_BUF_INIT(64 << 20), raw = SPY_BUF_INIT(64 << 20);
    struct spy_err e = {0};
    if (spy_format_find("pprof")->print(p, v, &packed, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(spy_decompress(SPY_ENCODING_GZIP, packed.data, packed.len, &raw, &e), 0);
    Spy__Pprof__Profile *m = spy__pprof__profile__unpack(NULL, raw.len, raw.data);
    assert_non_null(m);
    return m;
}

static const char *text_at(const Spy__Pprof__Profile *m, int64_t i)
{
    assert_in_range(i, 0, m->n_string_table - 1);
    return m->string_table[i];
}

static const Spy__Pprof__Location *location_at(const Spy__Pprof__Profile *m, uint64_t id)
{
    for (size_t i = 0; i < m->n_location; i++)
        if (m->location[i]->id == id)
            return m->location[i];
    fail_msg("no location %lu", (unsigned long)id);
    return NULL;
}

static const Spy__Pprof__Function *function_at(const Spy__Pprof__Profile *m, uint64_t location)
{
    for (size_t i = 0; i < m->n_function; i++)
        if (m->function[i]->id == location_at(m, location)->line[0]->function_id)
            return m->function[i];
    fail_msg("no function for location %lu", (unsigned long)location);
    return NULL;
}

static const Spy__Pprof__Label *find_label(const Spy__Pprof__Profile *m,
                                           const Spy__Pprof__Sample *s, const char *key)
{
    for (size_t i = 0; i < s->n_label; i++)
        if (!strcmp(text_at(m, s->label[i]->key), key))
            return s->label[i];
    return NULL;
}

static void each_chosen_sample_has_its_stack_and_weight(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = test_profile_random(7, 300);
    const struct spy_view v = {.idle = true};
    _cleanup_(message_done) Spy__Pprof__Profile *m = print_pprof(p, &v);
    assert_int_equal(m->n_sample, spy_profile_n_samples(p));
    for (size_t i = 0; i < m->n_sample; i++) {
        const struct spy_sample *want = spy_profile_sample_at(p, (uint32_t)i);
        const Spy__Pprof__Sample *got = m->sample[i];
        assert_int_equal(got->value[0], want->count);
        assert_int_equal(got->value[1], want->ns);
        size_t n = 0;
        for (uint32_t s = want->stack; s; s = spy_profile_stack_at(p, s)->parent, n++) {
            const struct spy_frame *f = spy_profile_frame_at(p, spy_profile_stack_at(p, s)->frame);
            const struct spy_function *function = spy_profile_function_at(p, f->function);
            assert_true(n < got->n_location_id);
            uint64_t id = got->location_id[n];
            assert_string_equal(text_at(m, function_at(m, id)->name),
                                spy_profile_text(p, function->name));
            assert_string_equal(text_at(m, function_at(m, id)->filename),
                                spy_profile_text(p, function->filename));
            assert_int_equal(function_at(m, id)->start_line, function->start_line);
            assert_int_equal(location_at(m, id)->line[0]->line, f->line);
        }
        assert_int_equal(n, got->n_location_id);
    }
}

static void types_window_and_strings_are_as_pprof_wants_them(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = test_profile_random(7, 300);
    const struct spy_view v = {.idle = true, .title = "web"};
    _cleanup_(message_done) Spy__Pprof__Profile *m = print_pprof(p, &v);
    assert_string_equal(m->string_table[0], "");
    assert_string_equal(text_at(m, m->sample_type[0]->type), "samples");
    assert_string_equal(text_at(m, m->sample_type[0]->unit), "count");
    assert_string_equal(text_at(m, m->sample_type[1]->type), "wall");
    assert_string_equal(text_at(m, m->sample_type[1]->unit), "nanoseconds");
    assert_string_equal(text_at(m, m->default_sample_type), "wall");
    assert_string_equal(text_at(m, m->mapping[0]->filename), "web");
    uint64_t start = UINT64_MAX;
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++)
        start = spy_min(start, spy_profile_series_get(p, i)->start_ns);
    assert_int_equal(m->time_nanos, start);
    assert_true(m->duration_nanos > 0 && m->period > 0);
    for (size_t i = 0; i < m->n_location; i++)
        assert_int_equal(m->location[i]->mapping_id, 1);
}

static void labels_name_process_thread_and_state(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    struct spy_label labels[2];
    uint32_t series, thread, name;
    assert_int_equal(spy_profile_cstr(p, SPY_LABEL_PID, &labels[0].key), 0);
    assert_int_equal(spy_profile_cstr(p, "42", &labels[0].value), 0);
    assert_int_equal(spy_profile_cstr(p, SPY_LABEL_POD, &labels[1].key), 0);
    assert_int_equal(spy_profile_cstr(p, "web-0", &labels[1].value), 0);
    assert_int_equal(spy_profile_series(p, labels, 2, &series), 0);
    assert_int_equal(spy_profile_cstr(p, "worker", &name), 0);
    assert_int_equal(spy_profile_thread(p, 43, name, &thread), 0);
    assert_int_equal(spy_profile_add(p, series, 0, thread,
                                     SPY_STATE_RUNNABLE | SPY_STATE_GIL_WAITS | SPY_STATE_GC, 3,
                                     30),
                     0);
    _cleanup_(message_done) Spy__Pprof__Profile *m =
        print_pprof(p, &(struct spy_view){.idle = true});
    const Spy__Pprof__Sample *s = m->sample[0];
    assert_int_equal(find_label(m, s, "pid")->num, 42);
    assert_int_equal(find_label(m, s, "tid")->num, 43);
    assert_string_equal(text_at(m, find_label(m, s, "thread")->str), "worker");
    assert_string_equal(text_at(m, find_label(m, s, "pod")->str), "web-0");
    assert_string_equal(text_at(m, find_label(m, s, "state")->str), "runnable");
    assert_string_equal(text_at(m, find_label(m, s, "gil")->str), "waits");
    assert_string_equal(text_at(m, find_label(m, s, "gc")->str), "collecting");
    assert_null(find_label(m, s, "service"));
}

static void without_lines_a_function_is_one_location(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = test_profile_random(7, 300);
    static const struct spy_view views[] = {{.idle = true, .no_lines = true},
                                            {.idle = true, .function_lines = true}};
    for (size_t k = 0; k < SPY_COUNT(views); k++) {
        _cleanup_(message_done) Spy__Pprof__Profile *m = print_pprof(p, &views[k]);
        assert_int_equal(m->n_location, m->n_function);
        for (size_t i = 0; i < m->n_location; i++) {
            const Spy__Pprof__Function *f = function_at(m, m->location[i]->id);
            assert_int_equal(m->location[i]->line[0]->line, views[k].no_lines ? 0 : f->start_line);
        }
    }
}

static void an_empty_profile_says_why(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    _cleanup_(message_done) Spy__Pprof__Profile *m = print_pprof(p, &(struct spy_view){0});
    assert_int_equal(m->n_sample, 0);
    assert_string_equal(text_at(m, m->comment[0]), "No samples to show: none was taken.");
}

RUN(T(each_chosen_sample_has_its_stack_and_weight),
    T(types_window_and_strings_are_as_pprof_wants_them), T(labels_name_process_thread_and_state),
    T(without_lines_a_function_is_one_location), T(an_empty_profile_says_why))
