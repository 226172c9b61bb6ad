// Lists that run in a cycle, and stacks of frames that do: their walk ends, and is not taken for a
// stack.
#include "agent/python/cycle.h"
#include "agent/python/layout.h"
#include "agent/python/unwind.h"
#include "tests/unit/test.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// cmocka.h needs the above.

// Steps until it is found out, of a list of `tail` addresses before a cycle of `round`; 0: never.
static size_t steps_until_found(size_t tail, size_t round, size_t limit)
{
    struct spy_py_cycle c = {0};
    for (size_t i = 0; i < limit; i++) {
        size_t at = i < tail ? i : tail + (i - tail) % round;
        if (spy_py_cycle_closes(&c, 4096 + 16 * at))
            return i + 1;
    }
    return 0;
}

static void test_a_cycle_of_any_length_behind_a_tail_of_any_length_is_found_soon(void **unused)
{
    (void)unused;
    for (size_t tail = 0; tail < 130; tail++)
        for (size_t round = 1; round < 130; round++) {
            size_t steps = steps_until_found(tail, round, 10000);
            assert_true(steps > tail + round);
            assert_true(steps <= 3 * (tail + round) + 1);
        }
}

static void test_a_list_without_a_cycle_has_none(void **unused)
{
    (void)unused;
    assert_int_equal(steps_until_found(100000, 1, 100000), 0);
}

enum { FRAMES = 300, FRAME_SIZE = 512, IDENT = 0x2000 };

// An interpreter of CPython 3.6, a thread of it and the thread's frames, in this process.
struct forged {
    uint64_t interp[64];
    uint64_t tstate[64];
    uint8_t frames[FRAMES][FRAME_SIZE];
};

static uint64_t addr_of(const void *p)
{
    return (uintptr_t)p;
}

// Each frame's caller is the next one, and that of the last one is frame `back`; FRAMES: it has
// none.
static struct forged *forge(const struct spy_py_layout *l, size_t back)
{
    struct forged *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_true(l->ts_size <= sizeof f->tstate && l->f_size <= FRAME_SIZE);
    f->tstate[l->ts_interp / 8] = addr_of(f->interp);
    f->tstate[l->ts_thread_id / 8] = IDENT;
    f->tstate[l->ts_frame / 8] = addr_of(f->frames[0]);
    for (size_t i = 0; i < FRAMES; i++) {
        size_t next = i + 1 < FRAMES ? i + 1 : back;
        uint64_t caller = next < FRAMES ? addr_of(f->frames[next]) : 0;
        memcpy(f->frames[i] + l->f_previous, &caller, sizeof caller);
        f->frames[i][l->f_executing] = (uint8_t)l->executing;
    }
    return f;
}

// Walks it, with the checks of a read without a pause or without them.
static int walk_forged(size_t back, bool checked, size_t *ret_depth)
{
    const struct spy_py_layout *l = spy_py_layout_find(3, 6);
    struct forged *f = forge(l, back);
    struct spy_target *t = NULL;
    struct spy_err err;
    assert_int_equal(spy_target_open(getpid(), &t, &err), 0);
    struct spy_py_thread th = {
        .id = {.tstate = addr_of(f->tstate), .interp = addr_of(f->interp), .ident = IDENT}};
    struct spy_py_scratch s = {0};
    struct spy_py_facts facts;
    spy_py_facts_choose(l, th.id.interp, 0, 0, &th.id.facts);
    int r = spy_py_unwind(t, l, &th, &s, checked, &facts);
    *ret_depth = spy_py_depth(&th, &s);
    assert_false(r == 0 && s.truncated);
    spy_py_places_done(&th.learned.places);
    free(s.recs);
    free(s.copy);
    spy_target_free(t);
    free(f);
    return r;
}

static void test_frames_that_call_each_other_in_a_cycle_are_torn(void **unused)
{
    (void)unused;
    size_t depth = 0;
    for (int checked = 0; checked < 2; checked++) {
        assert_int_equal(walk_forged(FRAMES, checked, &depth), 0);
        assert_int_equal(depth, FRAMES);
        static const size_t back[] = {0, 1, 7, 150, FRAMES - 2};
        for (size_t i = 0; i < sizeof back / sizeof *back; i++)
            assert_int_equal(walk_forged(back[i], checked, &depth), SPY_ERR_TORN);
    }
}

RUN(T(test_a_cycle_of_any_length_behind_a_tail_of_any_length_is_found_soon),
    T(test_a_list_without_a_cycle_has_none),
    T(test_frames_that_call_each_other_in_a_cycle_are_torn))
