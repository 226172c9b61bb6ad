#include "agent/python/layout.h"
#include "shared/base/mem.h"
#include <stddef.h>
#include <string.h>

// clang-format off
// What 3.12 and all later versions have in common.
#define SINCE_3_12 \
        .ts_next = 8, .ts_interp = 16, .f_code = 0, .f_previous = 8, .f_ip = 56, \
        .owner_generator = 1, .owner_entry = 3, \
        .co_filename = 112, .co_name = 120, .co_qualname = 128, .co_linetable = 136, \
        .co_firstlineno = 68, .co_flags = 48, .co_nlocalsplus = 72, .co_stacksize = 64, \
        .str_ascii_data = 40, .str_compact_data = 56
// What all have in common that are not free-threaded.
#define OBJECTS \
        .str_length = 16, .str_state = 32, .str_kind = 2, .ob_type = 8, .ob_size = 16, \
        .bytes_data = 32, .f_tlbc = SPY_PY_ABSENT, .co_tlbc = SPY_PY_ABSENT

static const struct spy_py_layout layouts[] = {
    {
        .major = 3, .minor = 11,
        .runtime_interp_head = 40, .runtime_gil = 360,
        .interp_next = 0, .interp_threads_head = 16, .interp_gil = SPY_PY_ABSENT,
        .interp_gc_collecting = 848, .interp_code_generation = SPY_PY_ABSENT,
        .ts_next = 8, .ts_interp = 16, .ts_thread_id = 152, .ts_native_id = 160, .ts_chunk = 296,
        .ts_cframe = 56, .ts_frame = 8, .ts_base = SPY_PY_ABSENT, .ts_size = 304,
        .f_code = 32, .f_previous = 48, .f_ip = 56, .f_owner = 69, .f_size = 72,
        .owner_generator = 1, .owner_entry = 255,
        .co_filename = 112, .co_name = 120, .co_qualname = 128, .co_linetable = 136,
        .co_firstlineno = 72, .co_flags = 48, .co_nlocalsplus = 76, .co_stacksize = 68,
        .co_code = 184, .co_firsttraceable = 168,
        .str_ascii_data = 48, .str_compact_data = 72, OBJECTS,
    },
    {
        .major = 3, .minor = 12,
        .runtime_interp_head = 40, .runtime_gil = SPY_PY_ABSENT,
        .interp_next = 0, .interp_threads_head = 72, .interp_gil = 384,
        .interp_gc_collecting = 312, .interp_code_generation = SPY_PY_ABSENT,
        .ts_thread_id = 136, .ts_native_id = 144, .ts_chunk = 232,
        .ts_cframe = 56, .ts_frame = 0, .ts_base = SPY_PY_ABSENT, .ts_size = 240,
        .f_owner = 70, .f_size = 72, .co_code = 192, .co_firsttraceable = 176,
        SINCE_3_12, OBJECTS,
    },
    {
        .major = 3, .minor = 13,
        .runtime_interp_head = 632, .runtime_gil = SPY_PY_ABSENT,
        .interp_next = 7264, .interp_threads_head = 7344, .interp_gil = 16,
        .interp_gc_collecting = 7600, .interp_code_generation = SPY_PY_ABSENT,
        .ts_thread_id = 152, .ts_native_id = 160, .ts_chunk = 232,
        .ts_cframe = SPY_PY_ABSENT, .ts_frame = 72, .ts_base = SPY_PY_ABSENT, .ts_size = 240,
        .f_owner = 70, .f_size = 72, .co_code = 200, .co_firsttraceable = 184,
        SINCE_3_12, OBJECTS,
    },
    {
        .major = 3, .minor = 14,
        .runtime_interp_head = 808, .runtime_gil = SPY_PY_ABSENT,
        .interp_next = 7272, .interp_threads_head = 7344, .interp_gil = 16,
        .interp_gc_collecting = 7600, .interp_code_generation = 7992,
        .ts_thread_id = 152, .ts_native_id = 160, .ts_chunk = 232,
        .ts_cframe = SPY_PY_ABSENT, .ts_frame = 72, .ts_base = SPY_PY_ABSENT, .ts_size = 240,
        .f_owner = 74, .f_size = 80, .f_code_tag = 3, .co_code = 208, .co_firsttraceable = 192,
        SINCE_3_12, OBJECTS,
    },
    {
        .major = 3, .minor = 15,
        .runtime_interp_head = 936, .runtime_gil = SPY_PY_ABSENT,
        .interp_next = 7264, .interp_threads_head = 7336, .interp_gil = 16,
        .interp_gc_collecting = 7512, .interp_code_generation = 7944,
        .ts_thread_id = 176, .ts_native_id = 184, .ts_chunk = 256,
        .ts_cframe = SPY_PY_ABSENT, .ts_frame = 72, .ts_base = 80, .ts_size = 264,
        .f_owner = 74, .f_size = 80, .f_code_tag = 3, .co_code = 208, .co_firsttraceable = 192,
        SINCE_3_12, OBJECTS,
    },
};
// clang-format on

const struct spy_py_layout *spy_py_layout_find(unsigned major, unsigned minor)
{
    for (size_t i = 0; i < SPY_COUNT(layouts); i++)
        if (layouts[i].major == major && layouts[i].minor == minor)
            return &layouts[i];
    return NULL;
}

const char *spy_py_layout_supported(void)
{
    return "3.11 to 3.15";
}

// --- _Py_DebugOffsets ---

// Words of 8 bytes from the start of _PyRuntime that are at the same place in all versions.
enum { WORD_VERSION = 1, WORD_FREE_THREADED = 2 };

// Where a published offset stands, as a word's number, in 3.13, 3.14 and 3.15 (0: not published);
// where it goes, and the bound that it may not pass.
struct published {
    uint16_t to;
    uint16_t max;
    uint8_t at[3];
};
enum { FIRST_PUBLISHED = 13, IN_MAX = 32768, TS_MAX = 496, CO_MAX = 240 };
#define TO(field) offsetof(struct spy_py_layout, field)

// clang-format off
static const struct published published[] = {
    {TO(runtime_interp_head),    4096,   {5, 5, 5}},
    {TO(interp_next),            IN_MAX, {8, 8, 8}},
    {TO(interp_threads_head),    IN_MAX, {9, 9, 9}},
    {TO(interp_gil),             IN_MAX, {14, 15, 15}},
    {TO(interp_code_generation), IN_MAX, {0, 20, 20}},
    {TO(ts_next),                TS_MAX, {21, 24, 24}},
    {TO(ts_interp),              TS_MAX, {22, 25, 25}},
    {TO(ts_frame),               TS_MAX, {23, 26, 26}},
    {TO(ts_base),                4096,   {0, 0, 27}},
    {TO(ts_thread_id),           TS_MAX, {24, 27, 30}},
    {TO(ts_native_id),           TS_MAX, {25, 28, 31}},
    {TO(ts_chunk),               TS_MAX, {26, 29, 32}},
    {TO(f_previous),             64,     {29, 32, 40}},
    {TO(f_code),                 64,     {30, 33, 41}},
    {TO(f_ip),                   64,     {31, 34, 42}},
    {TO(f_size),                 96,     {32, 35, 43}}, // localsplus: a frame without locals
    {TO(f_owner),                95,     {33, 36, 44}},
    {TO(co_filename),            CO_MAX, {35, 40, 48}},
    {TO(co_name),                CO_MAX, {36, 41, 49}},
    {TO(co_qualname),            CO_MAX, {37, 42, 50}},
    {TO(co_linetable),           CO_MAX, {38, 43, 51}},
    {TO(co_firstlineno),         CO_MAX, {39, 44, 52}},
    {TO(co_code),                CO_MAX, {43, 48, 56}},
    {TO(ob_type),                64,     {45, 51, 59}},
    {TO(ob_size),                64,     {65, 75, 87}},
    {TO(bytes_data),             64,     {66, 76, 88}},
    {TO(str_state),              64,     {68, 78, 90}},
    {TO(str_length),             64,     {69, 79, 91}},
    {TO(str_ascii_data),         64,     {70, 80, 92}},
};
// Only meaningful in free-threaded builds.
static const struct published published_free_threaded[] = {
    {TO(f_tlbc),  92,     {0, 38, 46}},
    {TO(co_tlbc), CO_MAX, {0, 49, 57}},
};
// Sums of two: the collecting flag of the garbage collector that lies in the interpreter.
enum { WORD_INTERP_GC, WORD_GC_COLLECTING };
static const uint8_t collecting[3][2] = {{10, 72}, {11, 82}, {11, 95}};
// clang-format on

static uint64_t word(const uint8_t *bytes, size_t i)
{
    uint64_t v;
    memcpy(&v, bytes + i * sizeof v, sizeof v);
    return v;
}

bool spy_py_debug_offsets_version(const uint8_t *bytes, size_t len, uint32_t *ret_version,
                                  bool *ret_free_threaded)
{
    if (len < (WORD_FREE_THREADED + 1) * sizeof(uint64_t) || memcmp(bytes, "xdebugpy", 8))
        return false;
    *ret_version = (uint32_t)word(bytes, WORD_VERSION);
    *ret_free_threaded = word(bytes, WORD_FREE_THREADED) != 0;
    return true;
}

static int take_rows(struct spy_py_layout *l, const struct published *rows, size_t n,
                     const uint8_t *bytes, unsigned version)
{
    for (size_t i = 0; i < n; i++) {
        if (!rows[i].at[version])
            continue;
        uint64_t v = word(bytes, rows[i].at[version]);
        if (v > rows[i].max)
            return SPY_ERR_TORN;
        *(uint16_t *)(void *)((uint8_t *)l + rows[i].to) = (uint16_t)v;
    }
    return 0;
}

// What is not published keeps its distance to what is: a free-threaded build has a longer object
// header, and all that follows it in a structure moves.
static void move_unpublished(struct spy_py_layout *l, const struct spy_py_layout *row)
{
    int code = l->co_firstlineno - row->co_firstlineno;
    l->co_flags = (uint16_t)(l->co_flags + code);
    l->co_nlocalsplus = (uint16_t)(l->co_nlocalsplus + code);
    l->co_stacksize = (uint16_t)(l->co_stacksize + code);
    l->co_firsttraceable = (uint16_t)(l->co_firsttraceable + code);
    l->str_compact_data =
        (uint16_t)(row->str_compact_data + l->str_ascii_data - row->str_ascii_data);
}

static uint16_t thread_state_size(const struct spy_py_layout *l)
{
    const uint16_t fields[] = {l->ts_next,      l->ts_interp,    l->ts_frame,
                               l->ts_thread_id, l->ts_native_id, l->ts_chunk};
    uint16_t size = 0;
    for (size_t i = 0; i < SPY_COUNT(fields); i++)
        if (fields[i] + 8 > size)
            size = (uint16_t)(fields[i] + 8);
    return size;
}

// Frames and code objects are read up to f_size and co_code: every field must lie before.
static bool fields_fit(const struct spy_py_layout *l)
{
    const uint16_t frame[] = {l->f_code, l->f_previous, l->f_ip};
    const uint16_t code[] = {l->co_filename,       l->co_name,  l->co_qualname,    l->co_linetable,
                             l->co_firstlineno,    l->co_flags, l->co_nlocalsplus, l->co_stacksize,
                             l->co_firsttraceable, l->ob_type,  l->ob_size};
    bool fit = l->f_owner < l->f_size && (l->f_tlbc == SPY_PY_ABSENT || l->f_tlbc + 4 <= l->f_size);
    for (size_t i = 0; i < SPY_COUNT(frame); i++)
        fit = fit && frame[i] + 8 <= l->f_size;
    for (size_t i = 0; i < SPY_COUNT(code); i++)
        fit = fit && code[i] + 8 <= l->co_code;
    return fit && (l->co_tlbc == SPY_PY_ABSENT || l->co_tlbc + 8 <= l->co_code);
}

int spy_py_layout_apply(struct spy_py_layout *layout, const uint8_t *bytes, size_t len)
{
    struct spy_py_layout l = *layout;
    unsigned version = l.minor - (unsigned)FIRST_PUBLISHED;
    if (l.minor < FIRST_PUBLISHED || version >= SPY_COUNT(collecting) ||
        len < SPY_PY_DEBUG_OFFSETS_SIZE)
        return SPY_ERR_TORN;
    l.free_threaded = word(bytes, WORD_FREE_THREADED) != 0;
    if (take_rows(&l, published, SPY_COUNT(published), bytes, version) < 0)
        return SPY_ERR_TORN;
    if (l.free_threaded) {
        if (take_rows(&l, published_free_threaded, SPY_COUNT(published_free_threaded), bytes,
                      version) < 0)
            return SPY_ERR_TORN;
        // The interned state is a byte of its own there (struct _PyUnicodeObject_state, 3.14+).
        l.str_kind = l.minor >= 14 ? 8 : l.str_kind;
        l.interp_gil = SPY_PY_ABSENT;
    }
    uint64_t gc = word(bytes, collecting[version][WORD_INTERP_GC]) +
                  word(bytes, collecting[version][WORD_GC_COLLECTING]);
    if (gc > IN_MAX)
        return SPY_ERR_TORN;
    l.interp_gc_collecting = (uint16_t)gc;
    move_unpublished(&l, layout);
    l.ts_size = thread_state_size(&l);
    if (!fields_fit(&l))
        return SPY_ERR_TORN;
    *layout = l;
    return 0;
}
