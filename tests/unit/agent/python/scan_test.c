// The search of a program's data for an interpreter that no symbol names, in memory made up here.
#include "agent/python/scan.h"
#include "agent/target/still.h"
#include "shared/base/clock.h"
#include "tests/unit/test.h"
#include <stdlib.h>
#include <string.h>
// cmocka.h needs the above.

enum { DATA = 0x500000, HEAP = 0x900000, BLOCK = 1 << 16, DATA_SIZE = 8 * BLOCK };
enum { HEAP_SIZE = BLOCK, SLOT = 2 * BLOCK + 4096, TEXT = 5 * BLOCK, OBJECT = 4096 };
// Where things lie on the heap.
enum { INTERP = HEAP, MAIN = HEAP + OBJECT, THREAD = HEAP + 2 * OBJECT, CFRAME = THREAD + 512 };
enum { FRAME = THREAD + 1024, CODE = FRAME + 256, TYPE = CODE + 256, NAME = TYPE + 512 };

struct world {
    uint8_t data[DATA_SIZE], heap[HEAP_SIZE];
    struct spy_target *target;
    const struct spy_py_layout *l;
    size_t data_read;
};

static void put(struct world *w, uint64_t addr, uint64_t v)
{
    uint8_t *to = addr >= HEAP ? &w->heap[addr - HEAP] : &w->data[addr - DATA];
    memcpy(to, &v, sizeof v);
}

static void put_text(struct world *w, size_t at, const char *text)
{
    memcpy(&w->data[at], text, strlen(text) + 1);
}

static void count(void *context, uint64_t addr, const void *bytes, size_t len)
{
    struct world *w = context;
    (void)bytes;
    if (addr >= DATA && addr < DATA + DATA_SIZE)
        w->data_read += len;
}

static void add(struct spy_still *s, uint64_t start, const uint8_t *bytes, size_t len,
                const char *path)
{
    struct spy_still_piece piece = {.start = start, .end = start + len, .bytes = bytes};
    struct spy_mapping m = {.start = start, .end = start + len, .readable = true, .writable = true};
    assert_int_equal(spy_still_add_piece(s, &piece), 0);
    assert_int_equal(spy_maps_add(&s->maps, &m, path), 0);
}

// An interpreter of that version on the heap, with one thread that runs one code object.
static struct world *begin(unsigned major, unsigned minor)
{
    struct world *w = calloc(1, sizeof *w);
    struct spy_still *s = spy_still_new();
    assert_non_null(w);
    assert_non_null(s);
    add(s, DATA, w->data, DATA_SIZE, "/service");
    add(s, HEAP, w->heap, HEAP_SIZE, "[heap]");
    assert_int_equal(spy_still_settle(s), 0);
    s->as_live = true;
    s->touched = count;
    s->touched_context = w;
    assert_int_equal(spy_target_of_still(s, &w->target), 0);
    const struct spy_py_layout *l = w->l = spy_py_layout_find(major, minor);
    put(w, INTERP + l->interp_threads_head, THREAD);
    put(w, THREAD + l->ts_interp, INTERP);
    put(w, THREAD + l->ts_thread_id, 1);
    if (l->ts_cframe != SPY_PY_ABSENT)
        put(w, THREAD + l->ts_cframe, CFRAME);
    put(w, (l->ts_cframe != SPY_PY_ABSENT ? CFRAME + 0u : THREAD) + l->ts_frame, FRAME);
    put(w, FRAME + l->f_code, CODE);
    put(w, CODE + l->ob_type, TYPE);
    put(w, TYPE + l->ob_size + 8u, NAME);
    memcpy(&w->heap[NAME - HEAP], "code", 5);
    return w;
}

static int scan(struct world *w, struct spy_py_runtime *ret, struct spy_err *err)
{
    const struct spy_module mod = {.start = DATA, .path = "/service"};
    uint64_t give_up = spy_clock_thread_cpu_ns() + 10000000000;
    return spy_py_scan(w->target, &spy_target_still(w->target)->maps, &mod, 1, give_up, ret, err);
}

static void end(struct world *w)
{
    spy_target_free(w->target);
    free(w);
}

static void assert_found(struct world *w, uint64_t slot, const char *version)
{
    struct spy_py_runtime rt = {0};
    assert_int_equal(scan(w, &rt, NULL), 0);
    assert_int_equal(rt.addr, slot - w->l->runtime_interp_head);
    assert_string_equal(rt.version, version);
    assert_string_equal(rt.module, "/service");
    assert_int_equal(rt.layout.minor, w->l->minor);
    assert_true(rt.scanned);
}

static void assert_not_found(struct world *w)
{
    struct spy_py_runtime rt = {0};
    assert_int_equal(scan(w, &rt, NULL), SPY_ERR_NOTFOUND);
    end(w);
}

// The text of the version before the interpreter, behind it, and across two blocks.
static void test_the_only_interpreter_is_found(void **unused)
{
    static const size_t texts[] = {8, TEXT, BLOCK - 3, TEXT + BLOCK - 1};
    (void)unused;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct world *w = begin(3, 11);
        put_text(w, texts[i], "3.11.2 (main, Mar 13 2023, 12:18:29) [GCC 12.2.0]");
        put(w, DATA + SLOT, INTERP);
        put(w, DATA + SLOT + 8, INTERP);
        assert_found(w, DATA + SLOT, "3.11.2");
        end(w);
    }
}

static void test_a_pointer_at_the_edge_of_a_block_is_found(void **unused)
{
    (void)unused;
    for (uint64_t slot = DATA + 2 * BLOCK - 16; slot <= DATA + 2 * BLOCK; slot += 8) {
        struct world *w = begin(3, 8);
        put_text(w, TEXT, "3.8.18 (default, Jan  1 2024, 00:00:00) \n[GCC 12.2.0]");
        put(w, slot, INTERP);
        put(w, slot + 8, INTERP);
        assert_found(w, slot, "3.8.18");
        end(w);
    }
}

static void test_the_newest_of_several_interpreters_is_found(void **unused)
{
    (void)unused;
    struct world *w = begin(3, 11);
    put_text(w, TEXT, "3.11.2 (main) [GCC 12.2.0]");
    put(w, DATA + SLOT, INTERP);
    put(w, DATA + SLOT + 8, MAIN);
    put(w, INTERP + w->l->interp_next, MAIN);
    assert_found(w, DATA + SLOT, "3.11.2");
    put(w, INTERP + w->l->interp_next, 0); // and main is not of its list
    assert_not_found(w);
}

// interp_head stands alone, and its interpreter on the heap.
static void test_2_7_is_found_by_interp_head_alone(void **unused)
{
    (void)unused;
    struct world *w = begin(2, 7);
    put_text(w, TEXT, "2.7.18 (default, Jan  1 2024, 00:00:00) \n[GCC 12.2.0]");
    put(w, DATA + SLOT, INTERP);
    put(w, DATA + SLOT + 8, 3);
    assert_found(w, DATA + SLOT, "2.7.18");
    end(w);
}

static void test_inconsistent_memory_is_not_an_interpreter(void **unused)
{
    (void)unused;
    for (int i = 0; i < 5; i++) {
        struct world *w = begin(3, 11);
        put_text(w, TEXT, "3.11.2 (main) [GCC 12.2.0]");
        put(w, DATA + SLOT, INTERP);
        put(w, DATA + SLOT + 8, INTERP);
        uint64_t wrong[] = {
            INTERP + w->l->interp_threads_head,    // no thread
            THREAD + w->l->ts_interp,              // another interpreter's
            THREAD + w->l->ts_thread_id,           // nobody runs it
            CFRAME + (uint64_t)w->l->ts_frame,     // no frame
            TYPE + (uint64_t)(w->l->ob_size + 8u), // what it runs is not code
        };
        put(w, wrong[i], 0);
        assert_not_found(w);
    }
}

static void test_without_a_version_text_no_interpreter_is_found(void **unused)
{
    (void)unused;
    struct world *w = begin(3, 11);
    put(w, DATA + SLOT, INTERP);
    put(w, DATA + SLOT + 8, INTERP);
    assert_not_found(w);
}

static void test_an_unknown_version_is_named(void **unused)
{
    struct spy_py_runtime rt = {0};
    struct spy_err err = {0};
    (void)unused;
    struct world *w = begin(3, 11);
    put_text(w, TEXT, "3.2.10 (default, Jan  1 2024, 00:00:00) \n[GCC 12.2.0]");
    assert_int_equal(scan(w, &rt, &err), SPY_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "Python 3.2.10 is not supported"));
    end(w);
}

static void test_the_cookie_of_debug_offsets_marks_the_runtime(void **unused)
{
    struct spy_py_runtime rt = {0};
    (void)unused;
    struct world *w = begin(3, 13);
    put_text(w, 8, "3.13.5 (main) [GCC 12.2.0]"); // does not matter
    put_text(w, SLOT, "xdebugpy");
    put(w, DATA + SLOT + 8, 0x030d05f0);
    assert_int_equal(scan(w, &rt, NULL), 0);
    assert_int_equal(rt.addr, DATA + SLOT);
    assert_int_equal(rt.layout.major, 0); // for its offsets to say
    end(w);
}

// All of the data, once, but for what the blocks share; and the candidates are read where they
// point to.
static void test_memory_is_read_once(void **unused)
{
    enum { SHARED = 512 };
    (void)unused;
    struct world *w = begin(3, 11);
    put_text(w, DATA_SIZE - 128, "3.11.2 (main) [GCC 12.2.0]");
    put(w, DATA + SLOT, INTERP);
    put(w, DATA + SLOT + 8, INTERP);
    assert_found(w, DATA + SLOT, "3.11.2");
    assert_true(w->data_read >= DATA_SIZE);
    assert_true(w->data_read <= DATA_SIZE + DATA_SIZE / BLOCK * SHARED);
    end(w);
}

// No more candidates are looked at than the bound, however many the data has.
static void test_candidate_interpreters_are_bounded(void **unused)
{
    (void)unused;
    struct world *w = begin(3, 11);
    put_text(w, 8, "3.11.2 (main) [GCC 12.2.0]");
    uint64_t at = DATA + 128, bogus = HEAP + HEAP_SIZE - 64;
    for (int i = 0; i < SPY_PY_SCAN_CANDIDATES_MAX - 1; i++, at += 16) {
        put(w, at, bogus);
        put(w, at + 8, bogus);
        bogus ^= 8; // so that a pair is none with its neighbour
    }
    put(w, at, INTERP);
    put(w, at + 8, INTERP);
    assert_found(w, at, "3.11.2");
    put(w, at, bogus);
    put(w, at + 8, bogus);
    put(w, at + 16, INTERP);
    put(w, at + 24, INTERP);
    assert_not_found(w);
}

RUN(T(test_the_only_interpreter_is_found), T(test_a_pointer_at_the_edge_of_a_block_is_found),
    T(test_the_newest_of_several_interpreters_is_found), T(test_2_7_is_found_by_interp_head_alone),
    T(test_inconsistent_memory_is_not_an_interpreter),
    T(test_without_a_version_text_no_interpreter_is_found), T(test_an_unknown_version_is_named),
    T(test_the_cookie_of_debug_offsets_marks_the_runtime), T(test_memory_is_read_once),
    T(test_candidate_interpreters_are_bounded))
