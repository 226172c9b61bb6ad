#include "shared/base/mem.h"
#include "shared/formats/format.h"
#include "shared/profile/timeline.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <string.h>

SPY_CLEANUP(timeline_done, struct spy_timeline, spy_timeline_free)

enum { MS = 1000000, PERIOD = 10 * MS };

// main calls a or b.
struct program {
    struct spy_profile *p;
    uint32_t series, thread, in_a, in_b;
};

static uint32_t push_frame(struct spy_profile *p, uint32_t parent, const char *name, uint32_t line)
{
    struct spy_function f = {.start_line = 1};
    uint32_t function, frame, stack;
    assert_int_equal(spy_profile_cstr(p, name, &f.name), 0);
    assert_int_equal(spy_profile_cstr(p, "x.py", &f.filename), 0);
    assert_int_equal(spy_profile_function(p, &f, &function), 0);
    assert_int_equal(spy_profile_frame(p, (struct spy_frame){function, line}, &frame), 0);
    assert_int_equal(spy_profile_stack(p, parent, frame, &stack), 0);
    return stack;
}

static struct program make_program(void)
{
    struct program m = {.p = spy_profile_new()};
    struct spy_label pid;
    uint32_t name;
    assert_int_equal(spy_profile_cstr(m.p, SPY_LABEL_PID, &pid.key), 0);
    assert_int_equal(spy_profile_cstr(m.p, "7", &pid.value), 0);
    assert_int_equal(spy_profile_series(m.p, &pid, 1, &m.series), 0);
    assert_int_equal(spy_profile_cstr(m.p, "T", &name), 0);
    assert_int_equal(spy_profile_thread(m.p, 8, name, &m.thread), 0);
    spy_profile_series_at(m.p, m.series)->period_ns = PERIOD;
    m.in_a = push_frame(m.p, push_frame(m.p, 0, "main", 20), "a", 5);
    m.in_b = push_frame(m.p, push_frame(m.p, 0, "main", 21), "b", 6);
    return m;
}

static void add_samples(struct program *m, struct spy_timeline *t, uint32_t stack, uint64_t count,
                        uint64_t at_ms)
{
    enum { STATE = SPY_STATE_RUNNING };
    spy_timeline_add(t, m->series, stack, m->thread, STATE, count, 1000 + at_ms * MS);
    assert_int_equal(
        spy_profile_add(m->p, m->series, stack, m->thread, STATE, count, count * PERIOD), 0);
}

static void assert_trace(const struct spy_profile *p, const struct spy_view *v, const char *want)
{
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(1 << 20);
    struct spy_err e = {0};
    if (spy_format_find("chrometrace")->print(p, v, &b, &e) < 0)
        fail_msg("%s", e.msg);
    assert_string_equal(spy_buf_str(&b), want);
}

#define HEAD(thread_name)                                                                          \
    "[\n{\"ph\":\"M\",\"pid\":7,\"tid\":8,\"ts\":0.000,\"cat\":\"__metadata\",\"name\":\"process_" \
    "name\",\"args\":{"                                                                            \
    "\"name\":\"process (7)\"}},\n"                                                                \
    "{\"ph\":\"M\",\"pid\":7,\"tid\":8,\"ts\":0.000,\"cat\":\"__metadata\",\"name\":\"thread_"     \
    "name\",\"args\":{"                                                                            \
    "\"name\":\"" thread_name "\"}},\n"
#define BEGIN(us, name, line)                                                                      \
    "{\"ph\":\"B\",\"pid\":7,\"tid\":8,\"ts\":" us ".000,\"cat\":\"python\",\"name\":\"" name      \
    "\",\"args\":{\"filename\":\"x.py\",\"line\":" line "}}"
#define END(us, name)                                                                              \
    "{\"ph\":\"E\",\"pid\":7,\"tid\":8,\"ts\":" us ".000,\"cat\":\"python\",\"name\":\"" name      \
    "\",\"args\":{}}"

static void calls_begin_and_end_in_the_order_of_time(void **state)
{
    (void)state;
    struct program m = make_program();
    _cleanup_profile_ struct spy_profile *p = m.p;
    _cleanup_(timeline_done) struct spy_timeline *t = spy_timeline_new(1 << 20);
    add_samples(&m, t, m.in_a, 2, 0); // main goes on while a ends and b begins
    add_samples(&m, t, m.in_b, 1, 20);
    add_samples(&m, t, m.in_a, 1, 80); // what lies between was not chosen
    assert_trace(
        p, &(struct spy_view){.timeline = t},
        HEAD("process (7), thread 8 \\\"T\\\"") BEGIN("0", "main", "20") ",\n"            //
        BEGIN("0", "a", "5") ",\n" END("20000", "a") ",\n"                                //
        BEGIN("20000", "b", "6") ",\n" END("30000", "b") ",\n" END("30000", "main") ",\n" //
        BEGIN("80000", "main", "20") ",\n" BEGIN("80000", "a", "5") ",\n"                 //
        END("90000", "a") ",\n" END("90000", "main") "\n]\n");
}

static void merged_samples_lie_end_to_end(void **state)
{
    (void)state;
    struct program m = make_program();
    _cleanup_profile_ struct spy_profile *p = m.p;
    _cleanup_(timeline_done) struct spy_timeline *t = spy_timeline_new(1 << 20);
    add_samples(&m, t, m.in_a, 2, 0);
    add_samples(&m, t, m.in_b, 1, 500);
    assert_trace(p, &(struct spy_view){0},
                 HEAD("process (7), thread 8 \\\"T\\\" (merged: no Time Order)") //
                 BEGIN("0", "main", "20") ",\n" BEGIN("0", "a", "5") ",\n"       //
                 END("20000", "a") ",\n" BEGIN("20000", "b", "6") ",\n" END("30000", "b") ",\n" END(
                     "30000", "main") "\n]\n");
}

static void an_empty_profile_is_an_empty_array(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    assert_trace(p, &(struct spy_view){0}, "[\n]\n");
}

RUN(T(calls_begin_and_end_in_the_order_of_time), T(merged_samples_lie_end_to_end),
    T(an_empty_profile_is_an_empty_array))
