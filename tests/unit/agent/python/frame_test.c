// Which frames say that they run: one that has ended must not pass for the newest of a stack.
#include "agent/python/frame.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the above.
#include <cmocka.h>

enum { EMPTY = 5, IN_A_CALL = 7, RUNS = -1 }; // EMPTY: has not begun, or has ended

static bool with_stacktop(unsigned minor, int32_t stacktop)
{
    const struct spy_py_layout *l = spy_py_layout_find(3, minor);
    uint8_t frame[80] = {0};
    memcpy(frame + l->f_stacktop, &stacktop, sizeof stacktop);
    return spy_py_frame_runs(l, frame);
}

static void test_from_3_11_to_3_13_the_depth_of_its_stack_tells(void **unused)
{
    (void)unused;
    for (unsigned minor = 11; minor <= 13; minor++) {
        assert_true(with_stacktop(minor, RUNS));
        assert_false(with_stacktop(minor, EMPTY));
        assert_false(with_stacktop(minor, IN_A_CALL));
        assert_false(with_stacktop(minor, 0));
    }
}

static void test_from_3_4_to_3_10_a_byte_tells(void **unused)
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_3_11_to_3_13_the_depth_of_its_stack_tells),
        cmocka_unit_test(test_from_3_4_to_3_10_a_byte_tells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
