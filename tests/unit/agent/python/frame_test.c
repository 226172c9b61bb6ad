// Which frames say that they run: one that has ended must not pass for the newest of a stack.
#include "agent/python/frame.h"
#include "tests/unit/test.h"
// cmocka.h needs the above.

enum { EMPTY = 5, IN_A_CALL = 7, RUNS = -1 }; // EMPTY: has not begun, or has ended

static bool with_stacktop(unsigned minor, int32_t stacktop)
{
    const struct spy_py_layout *l = spy_py_layout_find(3, minor);
    uint8_t frame[80] = {0};
    memcpy(frame + l->f_stacktop, &stacktop, sizeof stacktop);
    return spy_py_frame_runs(l, frame);
}

static void test_from_3_11_to_3_13_stacktop_shows_whether_a_frame_runs(void **unused)
{
    (void)unused;
    for (unsigned minor = 11; minor <= 13; minor++) {
        assert_true(with_stacktop(minor, RUNS));
        assert_false(with_stacktop(minor, EMPTY));
        assert_false(with_stacktop(minor, IN_A_CALL));
        assert_false(with_stacktop(minor, 0));
    }
}

static void test_from_3_4_to_3_10_a_byte_shows_whether_a_frame_runs(void **unused)
{
    (void)unused;
    for (unsigned minor = 4; minor <= 10; minor++) {
        const struct spy_py_layout *l = spy_py_layout_find(3, minor);
        uint8_t frame[160] = {0};
        frame[l->f_executing] = l->executing;
        assert_true(spy_py_frame_runs(l, frame));
        frame[l->f_executing] = !l->executing;
        assert_false(spy_py_frame_runs(l, frame));
    }
}

// A frame at inset behind the start of a frame object that points to `frame` and is at that line.
struct object {
    uint8_t bytes[512];
    uint64_t addr;
};

enum { OBJECT = 0x10000 };

static const uint8_t *put_frame(const struct spy_py_layout *l, struct object *o, uint64_t inset,
                                uint64_t object, uint64_t frame, int32_t line)
{
    memset(o, 0, sizeof *o);
    o->addr = OBJECT + inset;
    memcpy(o->bytes + l->fo_frame, &frame, sizeof frame);
    memcpy(o->bytes + l->fo_lineno, &line, sizeof line);
    memcpy(o->bytes + inset + l->f_object, &object, sizeof object);
    return o->bytes + inset;
}

static void test_a_compiled_frame_lies_in_its_object_and_is_pointed_to(void **unused)
{
    (void)unused;
    enum { INSET = 104, LINE = 70001 };
    struct object o;
    for (unsigned minor = 11; minor <= 15; minor++) {
        const struct spy_py_layout *l = spy_py_layout_find(3, minor);
        const uint8_t *f = put_frame(l, &o, INSET, OBJECT, OBJECT + INSET, LINE);
        assert_int_equal(spy_py_frame_inset(l, o.addr, f), INSET);
        assert_true(spy_py_frame_is_compiled(l, o.addr, f, INSET));
        assert_int_equal(spy_py_frame_own_line(l, f, INSET), LINE);
        f = put_frame(l, &o, INSET, OBJECT, OBJECT + INSET + 8, LINE);
        assert_false(spy_py_frame_is_compiled(l, o.addr, f, INSET));
        f = put_frame(l, &o, INSET, OBJECT, OBJECT + INSET, -1);
        assert_int_equal(spy_py_frame_own_line(l, f, INSET), 0);
    }
}

static void test_a_compiled_frame_says_that_it_has_stopped(void **unused)
{
    (void)unused;
    enum { INSET = 120, STATE = 16, SUSPENDED = -1, EXECUTING = 0, NO_STATE = -100 };
    const int32_t states[] = {SUSPENDED, EXECUTING, NO_STATE};
    struct object o;
    for (unsigned minor = 11; minor <= 14; minor++)
        for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
            const struct spy_py_layout *l = spy_py_layout_find(3, minor);
            const uint8_t *f = put_frame(l, &o, INSET, OBJECT, OBJECT + INSET, 1);
            memcpy(o.bytes + l->fo_data + STATE, &states[i], sizeof states[i]);
            assert_int_equal(spy_py_frame_has_stopped(l, f, INSET), states[i] == SUSPENDED);
            // One that begins where the state would be says nothing.
            assert_false(spy_py_frame_has_stopped(l, f, l->fo_data + STATE));
        }
}

static void test_a_frame_of_the_interpreter_is_not_taken_for_a_compiled_one(void **unused)
{
    (void)unused;
    struct object o;
    for (unsigned minor = 11; minor <= 15; minor++) {
        const struct spy_py_layout *l = spy_py_layout_find(3, minor);
        const uint64_t ended = l->fo_data; // kept in its frame object
        const uint64_t beside =
            (uint64_t)l->fo_data + l->f_size; // the next allocation at the least
        const uint8_t *f = put_frame(l, &o, ended, OBJECT, OBJECT + ended, 1);
        assert_int_equal(spy_py_frame_inset(l, o.addr, f), 0);
        f = put_frame(l, &o, beside, OBJECT, OBJECT + beside, 1);
        assert_int_equal(spy_py_frame_inset(l, o.addr, f), 0);
        f = put_frame(l, &o, beside, 0, OBJECT + beside, 1);
        assert_int_equal(spy_py_frame_inset(l, o.addr, f), 0);
    }
    for (unsigned minor = 3; minor <= 10; minor++) {
        const struct spy_py_layout *l = spy_py_layout_find(3, minor);
        assert_int_equal(spy_py_frame_inset(l, OBJECT, o.bytes), 0);
    }
}

static void test_up_to_3_10_a_frame_that_has_not_begun_gives_its_line(void **unused)
{
    (void)unused;
    const struct spy_py_layout *l = spy_py_layout_find(3, 10);
    uint8_t frame[160] = {0};
    int32_t lasti_and_line[2] = {-1, 70001};
    memcpy(frame + l->f_ip, lasti_and_line, sizeof lasti_and_line);
    uint64_t at = spy_py_frame_instruction(l, frame);
    assert_int_equal((int32_t)at, -1);
    assert_int_equal(at >> 32, 70001);
    lasti_and_line[0] = 12;
    memcpy(frame + l->f_ip, lasti_and_line, sizeof lasti_and_line);
    assert_int_equal(spy_py_frame_instruction(l, frame), 12);
}

RUN(T(test_from_3_11_to_3_13_stacktop_shows_whether_a_frame_runs),
    T(test_from_3_4_to_3_10_a_byte_shows_whether_a_frame_runs),
    T(test_a_compiled_frame_lies_in_its_object_and_is_pointed_to),
    T(test_a_compiled_frame_says_that_it_has_stopped),
    T(test_a_frame_of_the_interpreter_is_not_taken_for_a_compiled_one),
    T(test_up_to_3_10_a_frame_that_has_not_begun_gives_its_line))
