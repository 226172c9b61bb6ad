// Which copy of its bytecode a frame of a free-threaded 3.14 or later runs. This very process is
// the target: its memory holds what such an interpreter has (_PyCodeArray, Include/cpython/code.h).
#include "agent/python/code.h"
#include "tests/unit/test.h"
#include <string.h>
#include <unistd.h>
// cmocka.h needs the above.

enum { CO_TLBC = 224, CO_CODE = 240 };

struct world {
    struct spy_target *target;
    struct spy_py_layout layout;
    struct spy_codes codes;
    struct spy_code code, *list[1];
    uint64_t array[4]; // size and three copies
    uint8_t object[CO_CODE + 64];
};

static void begin(struct world *w)
{
    memset(w, 0, sizeof *w);
    assert_int_equal(spy_target_open(getpid(), &w->target, NULL), 0);
    w->layout = *spy_py_layout_find(3, 14);
    w->layout.co_tlbc = CO_TLBC;
    w->layout.co_code = CO_CODE;
    spy_codes_init(&w->codes, w->target, &w->layout);
    w->list[0] = &w->code;
    w->codes.list = w->list;
    w->codes.n = 1;
    w->code.addr = (uintptr_t)w->object;
    uint64_t array = (uintptr_t)w->array;
    memcpy(w->object + CO_TLBC, &array, sizeof array);
    w->array[0] = 3;
    w->array[1] = (uintptr_t)w->object + CO_CODE;
    w->array[2] = 0x1000;
    w->array[3] = 0x2000;
}

static void test_each_thread_has_its_copy_of_the_bytecode(void **unused)
{
    struct world w;
    (void)unused;
    begin(&w);
    assert_int_equal(spy_codes_bytecode(&w.codes, 0, 0, 7), w.code.addr + CO_CODE);
    assert_int_equal(spy_codes_bytecode(&w.codes, 0, 1, 7), 0x1000);
    assert_int_equal(spy_codes_bytecode(&w.codes, 0, 2, 7), 0x2000);
    spy_target_free(w.target);
}

static void test_a_copy_is_read_again_when_its_generation_changes(void **unused)
{
    struct world w;
    (void)unused;
    begin(&w);
    assert_int_equal(spy_codes_bytecode(&w.codes, 0, 1, 7), 0x1000);
    w.array[2] = 0x3000;
    assert_int_equal(spy_codes_bytecode(&w.codes, 0, 1, 7), 0x1000);
    assert_int_equal(spy_codes_bytecode(&w.codes, 0, 1, 8), 0x3000);
    spy_target_free(w.target);
}

static void test_a_missing_copy_is_unknown(void **unused)
{
    struct world w;
    uint64_t none = 0;
    (void)unused;
    begin(&w);
    assert_int_equal(spy_codes_bytecode(&w.codes, 0, -1, 7), 0);
    assert_int_equal(spy_codes_bytecode(&w.codes, 0, 3, 7), 0);
    assert_int_equal(spy_codes_bytecode(&w.codes, 0, INT32_MAX, 7), 0);
    memcpy(w.object + CO_TLBC, &none, sizeof none);
    assert_int_equal(spy_codes_bytecode(&w.codes, 0, 1, 7), 0);
    spy_target_free(w.target);
}

RUN(T(test_each_thread_has_its_copy_of_the_bytecode),
    T(test_a_copy_is_read_again_when_its_generation_changes), T(test_a_missing_copy_is_unknown))
