// Native frames between Python frames: made-up stacks, by entries and by counting, and what does
// not fit.
#include "agent/sampler/merge.h"
#include "shared/base/clock.h"
#include "shared/base/err.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <string.h>

#define SHOWN  SPY_MERGE_SHOWN
#define HIDDEN SPY_MERGE_HIDDEN
#define LOOP   SPY_MERGE_LOOP
enum { FRAMES = 64, STEP = 0x100 };

// "n0 p0 n3 ...": what was merged.
static const char *show_merged(const struct spy_merged *m, int n)
{
    static char text[1024];
    size_t len = 0;
    for (int i = 0; i < n; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%c%u", i ? " " : "",
                                m[i].is_native ? 'n' : 'p', m[i].index);
    text[len] = 0;
    return text;
}

// The i-th native frame is at [i * STEP, (i + 1) * STEP).
static struct spy_merge_native native_frame(size_t i, enum spy_merge_role role)
{
    return (struct spy_merge_native){i * STEP, (i + 1) * STEP, role};
}

static void frames_stand_in_the_loop_that_holds_their_entry(void **state)
{
    (void)state;
    // search, loop, call, sort, loop, main
    const struct spy_merge_native native[] = {native_frame(0, SHOWN),  native_frame(1, HIDDEN),
                                              native_frame(2, HIDDEN), native_frame(3, SHOWN),
                                              native_frame(4, LOOP),   native_frame(5, HIDDEN)};
    const struct spy_merge_python python[] = {
        {0x9000, false, true},  {0x9100, false, true}, {1 * STEP + 8, true, false},
        {0x9200, false, false}, {0x9300, false, true}, {4 * STEP + 8, true, false}};
    struct spy_merged out[FRAMES];
    int n = spy_merge(native, SPY_COUNT(native), python, SPY_COUNT(python), true, out);
    assert_string_equal(show_merged(out, n), "n0 p0 p1 n3 p2");
}

static void an_entry_outside_of_all_frames_does_not_fit(void **state)
{
    (void)state;
    const struct spy_merge_native native[] = {native_frame(0, SHOWN), native_frame(1, LOOP)};
    const struct spy_merge_python far[] = {{0x9000, false, true}, {9 * STEP, true, false}};
    const struct spy_merge_python turned[] = {
        {STEP, true, false}, {0x9000, false, true}, {0, true, false}};
    const struct spy_merge_python endless[] = {{STEP, true, false}, {0x9000, false, true}};
    struct spy_merged out[FRAMES];
    assert_int_equal(spy_merge(native, 2, far, 2, true, out), SPY_ERR_TORN);
    assert_int_equal(spy_merge(native, 2, turned, 3, true, out), SPY_ERR_TORN);
    assert_int_equal(spy_merge(native, 2, endless, 2, true, out), SPY_ERR_TORN);
}

static void old_versions_have_a_loop_for_each_frame(void **state)
{
    (void)state;
    const struct spy_merge_native native[] = {native_frame(0, SHOWN), native_frame(1, LOOP),
                                              native_frame(2, LOOP), native_frame(3, SHOWN),
                                              native_frame(4, LOOP)};
    const struct spy_merge_python python[] = {
        {0x9000, false, true}, {0x9100, false, false}, {0x9200, false, true}};
    struct spy_merged out[FRAMES];
    int n = spy_merge(native, 5, python, 3, false, out);
    assert_string_equal(show_merged(out, n), "n0 p0 n3 p1");
    // The innermost loop has just begun, and has no frame yet.
    n = spy_merge(native, 5, python + 1, 2, false, out);
    assert_string_equal(show_merged(out, n), "n0 n3 p0");
    assert_int_equal(spy_merge(native, 5, python + 2, 1, false, out), SPY_ERR_TORN);
    assert_int_equal(spy_merge(native, 3, python, 3, false, out), SPY_ERR_TORN);
}

static void a_nameless_frame_below_all_python_frames_is_left_out(void **state)
{
    (void)state;
    const struct spy_merge_native native[] = {native_frame(0, SPY_MERGE_NAMELESS),
                                              native_frame(1, LOOP),
                                              native_frame(2, SPY_MERGE_NAMELESS)};
    const struct spy_merge_python python[] = {{0x9000, false, true}, {STEP, true, false}};
    struct spy_merged out[FRAMES];
    assert_string_equal(show_merged(out, spy_merge(native, 3, python, 2, true, out)), "n0 p0");
    assert_string_equal(show_merged(out, spy_merge(native, 3, NULL, 0, true, out)), "n0 n2");
}

// Every Python frame that is shown is there once and in order, and so is every native frame.
static void check_order(const struct spy_merged *m, int n, uint32_t n_python, uint32_t n_native)
{
    uint32_t next_python = 0, native = 0;
    int64_t last = -1;
    for (int i = 0; i < n; i++) {
        if (!m[i].is_native) {
            assert_int_equal(m[i].index, next_python++);
            continue;
        }
        assert_true((int64_t)m[i].index > last);
        last = m[i].index;
        native++;
    }
    assert_int_equal(next_python, n_python);
    assert_int_equal(native, n_native);
}

static void order_and_number_are_kept_in_random_stacks(void **state)
{
    (void)state;
    struct spy_rand rand = {{17, 4}};
    for (int round = 0; round < 20000; round++) {
        struct spy_merge_native native[FRAMES];
        struct spy_merge_python python[FRAMES];
        struct spy_merged out[2 * FRAMES];
        size_t n_native = 1 + spy_rand_next(&rand) % FRAMES, n_python = 0;
        uint32_t shown_native = 0, shown_python = 0;
        for (size_t i = 0; i < n_native; i++) {
            uint64_t dice = spy_rand_next(&rand);
            native[i] = native_frame(i, dice % 3 == 0 ? LOOP : dice % 3 == 1 ? HIDDEN : SHOWN);
            shown_native += native[i].role == SHOWN;
            if (native[i].role != LOOP || n_python + 4 > FRAMES)
                continue;
            for (uint64_t k = 0; k < dice / 8 % 3; k++) {
                python[n_python++] = (struct spy_merge_python){0x9000, false, dice & 64};
                shown_python += (dice & 64) != 0;
            }
            python[n_python++] =
                (struct spy_merge_python){native[i].low + dice % STEP, true, false};
        }
        int n = spy_merge(native, n_native, python, n_python, true, out);
        assert_true(n >= 0);
        check_order(out, n, shown_python, shown_native);
    }
}

static void roles_follow_from_names(void **state)
{
    (void)state;
    const char *loop = "_PyEval_EvalFrameDefault";
    assert_int_equal(spy_merge_role_of(loop, true, loop), LOOP);
    assert_int_equal(spy_merge_role_of("_PyEval_EvalFrameDefault.cold.7", true, loop), LOOP);
    assert_int_equal(spy_merge_role_of("_PyEval_EvalFrame", true, loop), HIDDEN);
    assert_int_equal(spy_merge_role_of("method_vectorcall_O", true, loop), HIDDEN);
    assert_int_equal(spy_merge_role_of("list_sort_impl", true, loop), SHOWN);
    assert_int_equal(spy_merge_role_of("main", true, loop), HIDDEN);
    assert_int_equal(spy_merge_role_of("main", false, loop), SHOWN);
    assert_int_equal(spy_merge_role_of("__libc_start_main_impl", false, loop), HIDDEN);
    assert_int_equal(spy_merge_role_of("py::f:/x.py", false, loop), HIDDEN);
    assert_int_equal(spy_merge_role_of(NULL, true, loop), HIDDEN);
    assert_int_equal(spy_merge_role_of(NULL, false, loop), SPY_MERGE_NAMELESS);
}

RUN(T(frames_stand_in_the_loop_that_holds_their_entry),
    T(an_entry_outside_of_all_frames_does_not_fit), T(old_versions_have_a_loop_for_each_frame),
    T(a_nameless_frame_below_all_python_frames_is_left_out),
    T(order_and_number_are_kept_in_random_stacks), T(roles_follow_from_names))
