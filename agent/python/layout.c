#include "agent/python/layout.h"
#include "agent/python/linetable.h"
#include "shared/base/mem.h"
#include <stddef.h>
#include <string.h>

// clang-format off
#define ABSENT SPY_PY_ABSENT
// What all have in common that are not free-threaded.
#define OBJECTS(str_data, str_data_compact, bytes) \
        .str_length = 16, .str_state = 32, .str_kind = 2, .ob_type = 8, .ob_size = 16, \
        .str_ascii_data = str_data, .str_compact_data = str_data_compact, .bytes_data = bytes, \
        .f_tlbc = ABSENT, .co_tlbc = ABSENT, .interp_tlbc_generation = ABSENT
// Up to 3.10: frames are objects on the heap.
#define HEAP_FRAMES \
        .heap_frames = true, .ts_native_id = ABSENT, .ts_chunk = ABSENT, .ts_cframe = ABSENT, \
        .cframe_previous = ABSENT, .ts_base = ABSENT, .interp_next = 0, .interp_threads_head = 8, \
        .interp_gil = ABSENT, \
        .interp_code_generation = ABSENT, .f_code = 32, .f_previous = 24, .f_owner = ABSENT, \
        .f_stacktop = ABSENT, .f_object = ABSENT, .fo_frame = ABSENT, .fo_lineno = ABSENT, .fo_data = ABSENT, \
        .owner_generator = 254, .owner_entry = 255, .co_firsttraceable = ABSENT
// 3.11 and later: frames are pieces of a stack of their own.
#define STACK_FRAMES \
        .runtime_gc_collecting = ABSENT, .f_executing = ABSENT, \
        .ts_next = 8, .ts_interp = 16, .owner_generator = 1, .unit_bytes = 2, \
        .fo_frame = 24, .fo_lineno = 40, \
        .lines = SPY_LINETABLE_LOCATIONS, .co_units = 16, \
        .co_filename = 112, .co_name = 120, .co_qualname = 128, .co_linetable = 136, .co_flags = 48
#define SINCE_3_12 \
        STACK_FRAMES, .runtime_gil = ABSENT, .f_code = 0, .f_previous = 8, .f_ip = 56, \
        .f_object = 48, .cframe_previous = ABSENT, \
        .owner_entry = 3, .co_firstlineno = 68, .co_nlocalsplus = 72, .co_stacksize = 64, \
        OBJECTS(40, 56, 32)
#define SINCE_3_8 \
        .co_filename = 104, .co_name = 112, .co_qualname = 112, .co_linetable = 120, \
        .co_firstlineno = 40, .co_flags = 36, .co_nlocalsplus = 28, .co_stacksize = 32, \
        .co_code = 48, .co_units = 48, .co_head = 128
#define IN_3_3_TO_3_7 \
        .co_filename = 96, .co_name = 104, .co_qualname = 104, .co_flags = 32, \
        .co_nlocalsplus = 24, .co_stacksize = 28, .co_code = 40, .co_units = 40
#define IN_3_6_AND_3_7 \
        IN_3_3_TO_3_7, .co_linetable = 112, .co_firstlineno = 36, .co_head = 120
#define IN_3_3_TO_3_5 \
        IN_3_3_TO_3_7, .co_linetable = 120, .co_firstlineno = 112, .co_head = 128, \
        .lasti_bytes = 1, .unit_bytes = 1, .lines = SPY_LINETABLE_LNOTAB_UNSIGNED, \
        OBJECTS(48, 72, 32)
// No _PyRuntime yet.
#define UP_TO_3_6 \
        HEAP_FRAMES, .runtime_is_head = true, .runtime_interp_head = 0, .runtime_gil = ABSENT, \
        .runtime_gc_collecting = ABSENT, .interp_gc_collecting = ABSENT
#define UP_TO_3_3 \
        UP_TO_3_6, .f_ip = 120, .f_size = 128, .f_executing = ABSENT, \
        .ts_next = 0, .ts_interp = 8, .ts_frame = 16, .ts_thread_id = 144, .ts_size = 152
#define IN_3_4_TO_3_6 \
        UP_TO_3_6, .f_ip = 120, .f_size = 136, .f_executing = 132, .executing = 1, \
        .ts_next = 8, .ts_interp = 16, .ts_frame = 24, .ts_thread_id = 152, .ts_size = 160
#define SINCE_3_7 \
        .ts_next = 8, .ts_interp = 16, .ts_frame = 24, .ts_thread_id = 176, .ts_size = 184

static const struct spy_py_layout layouts[] = {
    {
        .major = 2, .minor = 7, UP_TO_3_3,
        .lasti_bytes = 1, .unit_bytes = 1, .lines = SPY_LINETABLE_LNOTAB_UNSIGNED,
        .co_filename = 80, .co_name = 88, .co_qualname = 88, .co_linetable = 104,
        .co_firstlineno = 96, .co_flags = 28, .co_nlocalsplus = 20, .co_stacksize = 24,
        .co_code = 32, .co_units = 32, .co_head = 112,
        OBJECTS(36, 36, 36), .str_is_bytes = true,
    },
    { .major = 3, .minor = 3, UP_TO_3_3, IN_3_3_TO_3_5 },
    { .major = 3, .minor = 4, IN_3_4_TO_3_6, IN_3_3_TO_3_5 },
    { .major = 3, .minor = 5, IN_3_4_TO_3_6, IN_3_3_TO_3_5 },
    {
        .major = 3, .minor = 6, IN_3_4_TO_3_6, IN_3_6_AND_3_7,
        .lasti_bytes = 1, .unit_bytes = 2, .lines = SPY_LINETABLE_LNOTAB,
        OBJECTS(48, 72, 32),
    },
    {
        .major = 3, .minor = 7, HEAP_FRAMES, IN_3_6_AND_3_7, SINCE_3_7,
        .runtime_interp_head = 24, .runtime_gil = 1264, .runtime_gc_collecting = 632,
        .interp_gc_collecting = ABSENT,
        .f_ip = 104, .f_size = 120, .f_executing = 116, .executing = 1,
        .lasti_bytes = 1, .unit_bytes = 2, .lines = SPY_LINETABLE_LNOTAB,
        OBJECTS(48, 72, 32),
    },
    {
        .major = 3, .minor = 8, HEAP_FRAMES, SINCE_3_8, SINCE_3_7,
        .runtime_interp_head = 32, .runtime_gil = 1152, .runtime_gc_collecting = 544,
        .interp_gc_collecting = ABSENT,
        .f_ip = 104, .f_size = 120, .f_executing = 116, .executing = 1,
        .lasti_bytes = 1, .unit_bytes = 2, .lines = SPY_LINETABLE_LNOTAB,
        OBJECTS(48, 72, 32),
    },
    {
        .major = 3, .minor = 9, HEAP_FRAMES, SINCE_3_8, SINCE_3_7,
        .runtime_interp_head = 32, .runtime_gil = 352, .runtime_gc_collecting = ABSENT,
        .interp_gc_collecting = 816,
        .f_ip = 104, .f_size = 120, .f_executing = 116, .executing = 1,
        .lasti_bytes = 1, .unit_bytes = 2, .lines = SPY_LINETABLE_LNOTAB,
        OBJECTS(48, 72, 32),
    },
    {
        .major = 3, .minor = 10, HEAP_FRAMES, SINCE_3_8, SINCE_3_7,
        .runtime_interp_head = 32, .runtime_gil = 352, .runtime_gc_collecting = ABSENT,
        .interp_gc_collecting = 816,
        .f_ip = 96, .f_size = 112, .f_executing = 108, .executing = 0,
        .lasti_bytes = 2, .unit_bytes = 2, .lines = SPY_LINETABLE_RANGES,
        OBJECTS(48, 72, 32),
    },
    {
        .major = 3, .minor = 11, STACK_FRAMES,
        .runtime_interp_head = 40, .runtime_gil = 360,
        .interp_next = 0, .interp_threads_head = 16, .interp_gil = ABSENT,
        .interp_gc_collecting = 848, .interp_code_generation = ABSENT,
        .ts_thread_id = 152, .ts_native_id = 160, .ts_chunk = 296,
        .ts_cframe = 56, .ts_frame = 8, .ts_base = ABSENT, .ts_size = 304,
        .cframe_previous = 16,
        .f_code = 32, .f_previous = 48, .f_ip = 56, .f_owner = 69, .f_size = 72, .f_stacktop = 64,
        .f_object = 40, .fo_data = 48,
        .owner_entry = 255,
        .co_firstlineno = 72, .co_nlocalsplus = 76, .co_stacksize = 68,
        .co_code = 184, .co_head = 184, .co_firsttraceable = 168,
        OBJECTS(48, 72, 32),
    },
    {
        .major = 3, .minor = 12, SINCE_3_12,
        .runtime_interp_head = 40,
        .interp_next = 0, .interp_threads_head = 72, .interp_gil = 384,
        .interp_gc_collecting = 312, .interp_code_generation = ABSENT,
        .fo_data = 48,
        .ts_thread_id = 136, .ts_native_id = 144, .ts_chunk = 232,
        .ts_cframe = 56, .ts_frame = 0, .ts_base = ABSENT, .ts_size = 240,
        .f_owner = 70, .f_size = 72, .f_stacktop = 64, .co_code = 192, .co_head = 192, .co_firsttraceable = 176,
    },
    {
        .major = 3, .minor = 13, SINCE_3_12,
        .runtime_interp_head = 632,
        .interp_next = 7264, .interp_threads_head = 7344, .interp_gil = 16,
        .interp_gc_collecting = 7600, .interp_code_generation = ABSENT,
        .interp_next_version = 17000,
        .fo_data = 64,
        .ts_thread_id = 152, .ts_native_id = 160, .ts_chunk = 232,
        .ts_cframe = ABSENT, .ts_frame = 72, .ts_base = ABSENT, .ts_size = 240,
        .f_owner = 70, .f_size = 72, .f_stacktop = 64, .co_code = 200, .co_head = 200, .co_firsttraceable = 184,
    },
    {
        .major = 3, .minor = 14, SINCE_3_12,
        .runtime_interp_head = 808,
        .interp_next = 7272, .interp_threads_head = 7344, .interp_gil = 16,
        .interp_gc_collecting = 7600, .interp_code_generation = 7992,
        .fo_data = 72,
        .ts_thread_id = 152, .ts_native_id = 160, .ts_chunk = 232,
        .ts_cframe = ABSENT, .ts_frame = 72, .ts_base = ABSENT, .ts_size = 240,
        .f_owner = 74, .f_size = 80, .f_stacktop = ABSENT, .f_code_tag = 3,
        .co_code = 208, .co_head = 208, .co_firsttraceable = 192,
    },
    {
        .major = 3, .minor = 15, SINCE_3_12,
        .runtime_interp_head = 936,
        .interp_next = 7264, .interp_threads_head = 7336, .interp_gil = 16,
        .interp_gc_collecting = 7512, .interp_code_generation = 7944,
        .fo_data = 72,
        .ts_thread_id = 176, .ts_native_id = 184, .ts_chunk = 256,
        .ts_cframe = ABSENT, .ts_frame = 72, .ts_base = 80, .ts_size = 264,
        .f_owner = 74, .f_size = 80, .f_stacktop = ABSENT, .f_code_tag = 3,
        .co_code = 208, .co_head = 208, .co_firsttraceable = 192,
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
    return "2.7 and 3.3 to 3.15";
}

void spy_py_layout_trace_refs(struct spy_py_layout *l)
{
    enum { LINKS = 16 };
    uint16_t *const fields[] = {
        &l->f_code,         &l->f_previous,       &l->f_ip,       &l->f_size,
        &l->f_executing,    &l->co_filename,      &l->co_name,    &l->co_qualname,
        &l->co_linetable,   &l->co_firstlineno,   &l->co_flags,   &l->co_nlocalsplus,
        &l->co_stacksize,   &l->co_code,          &l->co_units,   &l->co_head,
        &l->str_ascii_data, &l->str_compact_data, &l->str_length, &l->str_state,
        &l->ob_type,        &l->ob_size,          &l->bytes_data,
    };
    for (size_t i = 0; i < SPY_COUNT(fields); i++)
        if (*fields[i] != ABSENT)
            *fields[i] = (uint16_t)(*fields[i] + LINKS);
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
    {TO(ts_base),                TS_MAX, {0, 0, 27}},
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
    {TO(f_tlbc),                 92,     {0, 38, 46}},
    {TO(co_tlbc),                CO_MAX, {0, 49, 57}},
    {TO(interp_tlbc_generation), IN_MAX, {0, 21, 21}},
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
    l->co_units = l->ob_size;
    l->co_head = l->co_code;
    int object = l->ob_size - row->ob_size;
    l->fo_frame = (uint16_t)(l->fo_frame + object);
    l->fo_lineno = (uint16_t)(l->fo_lineno + object);
    l->fo_data = (uint16_t)(l->fo_data + object);
    l->str_compact_data =
        (uint16_t)(row->str_compact_data + l->str_ascii_data - row->str_ascii_data);
}

static uint16_t thread_state_size(const struct spy_py_layout *l)
{
    const uint16_t fields[] = {l->ts_next,      l->ts_interp, l->ts_frame, l->ts_thread_id,
                               l->ts_native_id, l->ts_chunk,  l->ts_base};
    uint16_t size = 0;
    for (size_t i = 0; i < SPY_COUNT(fields); i++)
        if (fields[i] != SPY_PY_ABSENT && fields[i] + 8 > size)
            size = (uint16_t)(fields[i] + 8);
    return size;
}

// Frames and code objects are read up to f_size and co_code: every field must lie before.
static bool fields_fit(const struct spy_py_layout *l)
{
    const uint16_t frame[] = {l->f_code, l->f_previous, l->f_ip, l->f_object};
    const uint16_t code[] = {l->co_filename,       l->co_name,  l->co_qualname,    l->co_linetable,
                             l->co_firstlineno,    l->co_flags, l->co_nlocalsplus, l->co_stacksize,
                             l->co_firsttraceable, l->ob_type,  l->ob_size};
    bool fit = l->f_owner < l->f_size &&
               (l->f_tlbc == SPY_PY_ABSENT || l->f_tlbc + 4 <= l->f_size) &&
               (l->f_stacktop == SPY_PY_ABSENT || l->f_stacktop + 4 <= l->f_size);
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
    // Not published: where the interpreter's own structure has grown, it lies elsewhere.
    if (l.free_threaded || l.interp_threads_head != layout->interp_threads_head)
        l.interp_next_version = 0;
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
