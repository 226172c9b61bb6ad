// What the tests of agent/python ask of it from a script.
//     python_probe layout MAJOR MINOR     prints the row: "field value" lines
//     python_probe traced MAJOR MINOR     the same for a build with Py_TRACE_REFS
//     python_probe apply MAJOR MINOR      the same after the _PyRuntime bytes on stdin were applied
//     python_probe lines MAJOR MINOR      compares line tables with what the interpreter says
//                                         of lines and, from 3.11 on, of columns
//     python_probe tids PID IDENT...      prints the thread that each pthread_self() is of
#include "agent/python/layout.h"
#include "agent/python/linetable.h"
#include "agent/python/tids.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// clang-format off
#define FIELDS(F) \
    F(runtime_is_head) F(runtime_interp_head) F(runtime_gil) F(runtime_gc_collecting) \
    F(interp_next) F(interp_threads_head) F(interp_gil) F(interp_gc_collecting) \
    F(interp_code_generation) F(interp_tlbc_generation) F(interp_next_version) F(ts_next) F(ts_interp) F(ts_thread_id) F(ts_native_id) F(ts_chunk) \
    F(ts_cframe) F(ts_frame) F(ts_base) F(cframe_previous) F(ts_size) F(f_code) F(f_previous) F(f_ip) F(f_owner) \
    F(f_size) F(f_executing) F(executing) F(f_stacktop) F(f_object) F(fo_frame) F(fo_lineno) F(fo_data) F(f_tlbc) F(owner_generator) F(owner_entry) \
    F(co_filename) F(co_name) F(co_qualname) F(co_linetable) F(co_firstlineno) F(co_flags) \
    F(co_nlocalsplus) F(co_stacksize) F(co_code) F(co_units) F(co_head) F(co_firsttraceable) \
    F(co_tlbc) F(str_kind) F(str_ascii_data) F(str_compact_data) F(str_length) F(str_state) F(ob_type) \
    F(ob_size) F(bytes_data)
// clang-format on

static int print_layout(const struct spy_py_layout *l)
{
#define PRINT(field) printf(#field " %u\n", (unsigned)l->field);
    FIELDS(PRINT)
    printf("gil_holder %d\ngil_locked %d\ngil_size %d\nchunk_previous %d\nchunk_size %d\n"
           "chunk_header %d\n",
           SPY_GIL_HOLDER, SPY_GIL_LOCKED, SPY_GIL_SIZE, SPY_CHUNK_PREVIOUS, SPY_CHUNK_SIZE,
           SPY_CHUNK_HEADER);
    return 0;
}

static int layout(char **argv)
{
    const struct spy_py_layout *row = spy_py_layout_find((unsigned)strtoul(argv[2], NULL, 10),
                                                         (unsigned)strtoul(argv[3], NULL, 10));
    if (!row)
        return 3;
    struct spy_py_layout l = *row;
    uint8_t bytes[SPY_PY_DEBUG_OFFSETS_SIZE];
    if (!strcmp(argv[1], "traced"))
        spy_py_layout_trace_refs(&l);
    if (!strcmp(argv[1], "apply")) {
        size_t n = fread(bytes, 1, sizeof bytes, stdin);
        if (spy_py_layout_apply(&l, bytes, n) < 0)
            return 4;
    }
    return print_layout(&l);
}

// What was found: in how many code objects and instructions, of which of them the lines are wrong
// and of which the rest is.
struct compared {
    unsigned long long codes, units, wrong, wrong_locations;
};

static void compare_lines(const struct spy_py_layout *l, const uint32_t head[3],
                          const uint8_t *table, const uint32_t *want, struct compared *c)
{
    uint32_t *got = calloc(head[2] + 1u, sizeof *got);
    if (!got)
        abort();
    c->wrong += spy_linetable_lines(l->lines, l->unit_bytes, table, head[1], head[0], got,
                                    head[2]) != head[2];
    for (uint32_t i = 0; i < head[2]; i++)
        c->wrong += got[i] != want[i];
    free(got);
}

// `want` is what co_positions() gives, -1 for None. In pieces, so that starts within an entry are
// tried too.
static void compare_locations(const uint32_t head[3], const uint8_t *table,
                              const int32_t (*want)[4], struct compared *c)
{
    enum { PIECE = 251 };
    struct spy_location got[PIECE];
    for (uint32_t from = 0; from < head[2]; from += PIECE) {
        uint32_t n = head[2] - from < PIECE ? head[2] - from : PIECE;
        c->wrong_locations += spy_linetable_locations(table, head[1], head[0], from, got, n) != n;
        for (uint32_t i = 0; i < n; i++) {
            const int32_t *w = want[from + i];
            c->wrong_locations += got[i].line != (w[0] < 0 ? 0 : (uint32_t)w[0]) ||
                                  got[i].end_line != (w[1] < 0 ? 0 : (uint32_t)w[1]) ||
                                  got[i].column != (uint32_t)(w[2] + 1) ||
                                  got[i].end_column != (uint32_t)(w[3] + 1);
        }
    }
}

static bool read_all(void *to, size_t size, size_t n)
{
    return fread(to, size, n, stdin) == n;
}

// A record: first line, length of the table, number of units (u32 each), the table, a u32 for each
// unit; from 3.11 on four i32 more for each.
static int lines(char **argv)
{
    const struct spy_py_layout *l = spy_py_layout_find((unsigned)strtoul(argv[2], NULL, 10),
                                                       (unsigned)strtoul(argv[3], NULL, 10));
    if (!l)
        return 3;
    bool located = l->lines == SPY_LINETABLE_LOCATIONS;
    uint32_t head[3];
    struct compared c = {0};
    while (read_all(head, sizeof head, 1)) {
        uint8_t *table = malloc(head[1] + 1u);
        uint32_t *want = calloc(head[2] + 1u, sizeof *want);
        int32_t(*positions)[4] = calloc(head[2] + 1u, sizeof *positions);
        if (!table || !want || !positions || !read_all(table, 1, head[1]) ||
            !read_all(want, sizeof *want, head[2]) ||
            (located && !read_all(positions, sizeof *positions, head[2])))
            return 4;
        compare_lines(l, head, table, want, &c);
        if (located)
            compare_locations(head, table, positions, &c);
        c.codes++;
        c.units += head[2];
        free(table);
        free(want);
        free(positions);
    }
    printf("%llu %llu %llu %llu\n", c.codes, c.units, c.wrong, c.wrong_locations);
    return c.wrong || c.wrong_locations;
}

static int tids(int argc, char **argv)
{
    struct spy_target *t = NULL;
    struct spy_tid *list = NULL;
    uint64_t idents[16];
    pid_t got[16];
    size_t n = 0, n_tids = 0;
    uint32_t offset = 0;
    for (; n < 16 && (int)n + 3 < argc; n++)
        idents[n] = strtoull(argv[n + 3], NULL, 16);
    if (spy_target_open((pid_t)strtol(argv[2], NULL, 10), &t, NULL) < 0 ||
        spy_threads_list(t, &list, &n_tids) < 0)
        return 1;
    spy_py_tids(t, list, n_tids, idents, got, n, &offset);
    for (size_t i = 0; i < n; i++)
        printf("%d\n", (int)got[i]);
    free(list);
    spy_target_free(t);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 3 && !strcmp(argv[1], "tids"))
        return tids(argc, argv);
    if (argc == 4 && !strcmp(argv[1], "lines"))
        return lines(argv);
    if (argc == 4 &&
        (!strcmp(argv[1], "layout") || !strcmp(argv[1], "traced") || !strcmp(argv[1], "apply")))
        return layout(argv);
    return 2;
}
