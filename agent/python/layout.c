#include "agent/python/layout.h"
#include "agent/python/linetable.h"
#include "agent/python/word.h"
#include "shared/base/mem.h"
#include <stddef.h>
#include <stdio.h>
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
        .f_stacktop = ABSENT, .f_object = ABSENT, .fo_frame = ABSENT, \
        .fo_lineno = ABSENT, .fo_data = ABSENT, \
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

// What an interpreter publishes of itself in _Py_DebugOffsets: the field of a layout and the bound
// that it may not pass. f_size is published as localsplus: a frame without locals.
enum { IN_MAX = 32768, TS_MAX = 496, CO_MAX = 240 };
#define PUBLISHED(X) \
        X(runtime_interp_head, 4096) \
        X(interp_next, IN_MAX) \
        X(interp_threads_head, IN_MAX) \
        X(interp_gil, IN_MAX) \
        X(interp_code_generation, IN_MAX) \
        X(ts_next, TS_MAX) \
        X(ts_interp, TS_MAX) \
        X(ts_frame, TS_MAX) \
        X(ts_base, TS_MAX) \
        X(ts_thread_id, TS_MAX) \
        X(ts_native_id, TS_MAX) \
        X(ts_chunk, TS_MAX) \
        X(f_previous, 64) \
        X(f_code, 64) \
        X(f_ip, 64) \
        X(f_size, 96) \
        X(f_owner, 95) \
        X(co_filename, CO_MAX) \
        X(co_name, CO_MAX) \
        X(co_qualname, CO_MAX) \
        X(co_linetable, CO_MAX) \
        X(co_firstlineno, CO_MAX) \
        X(co_code, CO_MAX) \
        X(ob_type, 64) \
        X(ob_size, 64) \
        X(bytes_data, 64) \
        X(str_state, 64) \
        X(str_length, 64) \
        X(str_ascii_data, 64)
// Only meaningful in free-threaded builds.
#define PUBLISHED_FREE_THREADED(X) \
        X(f_tlbc, 92) \
        X(co_tlbc, CO_MAX) \
        X(interp_tlbc_generation, IN_MAX)

// Where a version publishes it: the number of a word of 8 bytes from the start of _PyRuntime; 0:
// not published.
struct published {
#define WORD_OF(field, max) uint8_t field;
    PUBLISHED(WORD_OF)
    PUBLISHED_FREE_THREADED(WORD_OF)
#undef WORD_OF
    uint8_t interp_gc, gc_collecting; // the sum of the two is interp_gc_collecting
    // str_kind of a free-threaded build, not a word. Since 3.14 the interned state is a byte of its
    // own there (struct _PyUnicodeObject_state).
    uint8_t str_kind_free_threaded;
};

// A CPython version is one row. `at` is zero up to 3.12, which publishes nothing.
static const struct version {
    struct spy_py_layout layout;
    struct published at;
} versions[] = {
    {
        .layout = {
            .major = 2, .minor = 7, UP_TO_3_3,
            .lasti_bytes = 1, .unit_bytes = 1, .lines = SPY_LINETABLE_LNOTAB_UNSIGNED,
            .co_filename = 80, .co_name = 88, .co_qualname = 88, .co_linetable = 104,
            .co_firstlineno = 96, .co_flags = 28, .co_nlocalsplus = 20, .co_stacksize = 24,
            .co_code = 32, .co_units = 32, .co_head = 112,
            OBJECTS(36, 36, 36), .str_is_bytes = true,
        },
    },
    { .layout = { .major = 3, .minor = 3, UP_TO_3_3, IN_3_3_TO_3_5 } },
    { .layout = { .major = 3, .minor = 4, IN_3_4_TO_3_6, IN_3_3_TO_3_5 } },
    { .layout = { .major = 3, .minor = 5, IN_3_4_TO_3_6, IN_3_3_TO_3_5 } },
    {
        .layout = {
            .major = 3, .minor = 6, IN_3_4_TO_3_6, IN_3_6_AND_3_7,
            .lasti_bytes = 1, .unit_bytes = 2, .lines = SPY_LINETABLE_LNOTAB,
            OBJECTS(48, 72, 32),
        },
    },
    {
        .layout = {
            .major = 3, .minor = 7, HEAP_FRAMES, IN_3_6_AND_3_7, SINCE_3_7,
            .runtime_interp_head = 24, .runtime_gil = 1264, .runtime_gil_since = 4,
            .runtime_gc_collecting = 632,
            .interp_gc_collecting = ABSENT,
            .f_ip = 104, .f_size = 120, .f_executing = 116, .executing = 1,
            .lasti_bytes = 1, .unit_bytes = 2, .lines = SPY_LINETABLE_LNOTAB,
            OBJECTS(48, 72, 32),
        },
    },
    {
        .layout = {
            .major = 3, .minor = 8, HEAP_FRAMES, SINCE_3_8, SINCE_3_7,
            .runtime_interp_head = 32, .runtime_gil = 1152, .runtime_gc_collecting = 544,
            .interp_gc_collecting = ABSENT,
            .f_ip = 104, .f_size = 120, .f_executing = 116, .executing = 1,
            .lasti_bytes = 1, .unit_bytes = 2, .lines = SPY_LINETABLE_LNOTAB,
            OBJECTS(48, 72, 32),
        },
    },
    {
        .layout = {
            .major = 3, .minor = 9, HEAP_FRAMES, SINCE_3_8, SINCE_3_7,
            .runtime_interp_head = 32, .runtime_gil = 352, .runtime_gc_collecting = ABSENT,
            .interp_gc_collecting = 816,
            .f_ip = 104, .f_size = 120, .f_executing = 116, .executing = 1,
            .lasti_bytes = 1, .unit_bytes = 2, .lines = SPY_LINETABLE_LNOTAB,
            OBJECTS(48, 72, 32),
        },
    },
    {
        .layout = {
            .major = 3, .minor = 10, HEAP_FRAMES, SINCE_3_8, SINCE_3_7,
            .runtime_interp_head = 32, .runtime_gil = 352, .runtime_gc_collecting = ABSENT,
            .interp_gc_collecting = 816,
            .f_ip = 96, .f_size = 112, .f_executing = 108, .executing = 0,
            .lasti_bytes = 2, .unit_bytes = 2, .lines = SPY_LINETABLE_RANGES,
            OBJECTS(48, 72, 32),
        },
    },
    {
        .layout = {
            .major = 3, .minor = 11,
            STACK_FRAMES,
            .runtime_interp_head = 40, .runtime_gil = 360,
            .interp_next = 0, .interp_threads_head = 16, .interp_gil = ABSENT,
            .interp_gc_collecting = 848, .interp_code_generation = ABSENT,
            .ts_thread_id = 152, .ts_native_id = 160, .ts_chunk = 296,
            .ts_cframe = 56, .ts_frame = 8, .ts_base = ABSENT, .ts_size = 304,
            .cframe_previous = 16,
            .f_code = 32, .f_previous = 48, .f_ip = 56, .f_owner = 69, .f_size = 72,
            .f_stacktop = 64, .f_object = 40, .fo_data = 48,
            .owner_entry = 255,
            .co_firstlineno = 72, .co_nlocalsplus = 76, .co_stacksize = 68,
            .co_code = 184, .co_head = 184, .co_firsttraceable = 168,
            OBJECTS(48, 72, 32),
        },
    },
    {
        .layout = {
            .major = 3, .minor = 12,
            SINCE_3_12,
            .runtime_interp_head = 40,
            .interp_next = 0, .interp_threads_head = 72, .interp_gil = 384,
            .interp_gc_collecting = 312, .interp_code_generation = ABSENT,
            .fo_data = 48,
            .ts_thread_id = 136, .ts_native_id = 144, .ts_chunk = 232,
            .ts_cframe = 56, .ts_frame = 0, .ts_base = ABSENT, .ts_size = 240,
            .f_owner = 70, .f_size = 72, .f_stacktop = 64,
            .co_code = 192, .co_head = 192, .co_firsttraceable = 176,
        },
    },
    {
        .layout = {
            .major = 3, .minor = 13,
            SINCE_3_12,
            .runtime_interp_head = 632,
            .interp_next = 7264, .interp_threads_head = 7344, .interp_gil = 16,
            .interp_gc_collecting = 7600, .interp_code_generation = ABSENT,
            .interp_next_version = 17000,
            .fo_data = 64,
            .ts_thread_id = 152, .ts_native_id = 160, .ts_chunk = 232,
            .ts_cframe = ABSENT, .ts_frame = 72, .ts_base = ABSENT, .ts_size = 240,
            .f_owner = 70, .f_size = 72, .f_stacktop = 64,
            .co_code = 200, .co_head = 200, .co_firsttraceable = 184,
        },
        .at = {
            .runtime_interp_head = 5, .interp_next = 8, .interp_threads_head = 9, .interp_gil = 14,
            .ts_next = 21, .ts_interp = 22, .ts_frame = 23, .ts_thread_id = 24, .ts_native_id = 25,
            .ts_chunk = 26, .f_previous = 29, .f_code = 30, .f_ip = 31, .f_size = 32,
            .f_owner = 33, .co_filename = 35, .co_name = 36, .co_qualname = 37, .co_linetable = 38,
            .co_firstlineno = 39, .co_code = 43, .ob_type = 45, .ob_size = 65, .bytes_data = 66,
            .str_state = 68, .str_length = 69, .str_ascii_data = 70, .interp_gc = 10,
            .gc_collecting = 72, .str_kind_free_threaded = 2,
        },
    },
    {
        .layout = {
            .major = 3, .minor = 14,
            SINCE_3_12,
            .runtime_interp_head = 808,
            .interp_next = 7272, .interp_threads_head = 7344, .interp_gil = 16,
            .interp_gc_collecting = 7600, .interp_code_generation = 7992,
            .fo_data = 72,
            .ts_thread_id = 152, .ts_native_id = 160, .ts_chunk = 232,
            .ts_cframe = ABSENT, .ts_frame = 72, .ts_base = ABSENT, .ts_size = 240,
            .f_owner = 74, .f_size = 80, .f_stacktop = ABSENT, .f_code_tag = 3,
            .co_code = 208, .co_head = 208, .co_firsttraceable = 192,
        },
        .at = {
            .runtime_interp_head = 5, .interp_next = 8, .interp_threads_head = 9, .interp_gil = 15,
            .interp_code_generation = 20, .ts_next = 24, .ts_interp = 25, .ts_frame = 26,
            .ts_thread_id = 27, .ts_native_id = 28, .ts_chunk = 29, .f_previous = 32, .f_code = 33,
            .f_ip = 34, .f_size = 35, .f_owner = 36, .co_filename = 40, .co_name = 41,
            .co_qualname = 42, .co_linetable = 43, .co_firstlineno = 44, .co_code = 48,
            .ob_type = 51, .ob_size = 75, .bytes_data = 76, .str_state = 78, .str_length = 79,
            .str_ascii_data = 80, .f_tlbc = 38, .co_tlbc = 49, .interp_tlbc_generation = 21,
            .interp_gc = 11, .gc_collecting = 82, .str_kind_free_threaded = 8,
        },
    },
    {
        .layout = {
            .major = 3, .minor = 15,
            SINCE_3_12,
            .runtime_interp_head = 936,
            .interp_next = 7264, .interp_threads_head = 7336, .interp_gil = 16,
            .interp_gc_collecting = 7512, .interp_code_generation = 7944,
            .fo_data = 72,
            .ts_thread_id = 176, .ts_native_id = 184, .ts_chunk = 256,
            .ts_cframe = ABSENT, .ts_frame = 72, .ts_base = 80, .ts_size = 264,
            .f_owner = 74, .f_size = 80, .f_stacktop = ABSENT, .f_code_tag = 3,
            .co_code = 208, .co_head = 208, .co_firsttraceable = 192,
        },
        .at = {
            .runtime_interp_head = 5, .interp_next = 8, .interp_threads_head = 9, .interp_gil = 15,
            .interp_code_generation = 20, .ts_next = 24, .ts_interp = 25, .ts_frame = 26,
            .ts_base = 27, .ts_thread_id = 30, .ts_native_id = 31, .ts_chunk = 32,
            .f_previous = 40, .f_code = 41, .f_ip = 42, .f_size = 43, .f_owner = 44,
            .co_filename = 48, .co_name = 49, .co_qualname = 50, .co_linetable = 51,
            .co_firstlineno = 52, .co_code = 56, .ob_type = 59, .ob_size = 87, .bytes_data = 88,
            .str_state = 90, .str_length = 91, .str_ascii_data = 92, .f_tlbc = 46, .co_tlbc = 57,
            .interp_tlbc_generation = 21, .interp_gc = 11, .gc_collecting = 95,
            .str_kind_free_threaded = 8,
        },
    },
};
// clang-format on

const struct spy_py_layout *spy_py_layout_find(unsigned major, unsigned minor)
{
    for (size_t i = 0; i < SPY_COUNT(versions); i++)
        if (versions[i].layout.major == major && versions[i].layout.minor == minor)
            return &versions[i].layout;
    return NULL;
}

int spy_py_layout_of_hex(uint32_t hex, struct spy_py_layout *ret)
{
    unsigned micro = hex >> 8 & 255;
    const struct spy_py_layout *l = spy_py_layout_find(hex >> 24, hex >> 16 & 255);
    if (!l)
        return SPY_ERR_UNSUPPORTED;
    *ret = *l;
    if (micro < l->runtime_gil_since)
        ret->runtime_gil = ABSENT;
    return 0;
}

// True if this version directly follows that of the row before.
static bool follows_row(const struct version *v)
{
    return v > versions && v[-1].layout.major == v->layout.major &&
           v[-1].layout.minor + 1 == v->layout.minor;
}

const char *spy_py_layout_supported(char *out, size_t size)
{
    const struct version *end = versions + SPY_COUNT(versions);
    size_t at = 0;
    out[0] = 0;
    for (const struct version *v = versions, *last; v < end && at < size; v = last + 1) {
        for (last = v; last + 1 < end && follows_row(last + 1); last++)
            ;
        const char *join = v == versions ? "" : last + 1 == end ? " and " : ", ";
        int n = snprintf(out + at, size - at, "%s%u.%u", join, v->layout.major, v->layout.minor);
        at += n > 0 ? (size_t)n : 0;
        if (last == v || at >= size)
            continue;
        n = snprintf(out + at, size - at, " to %u.%u", last->layout.major, last->layout.minor);
        at += n > 0 ? (size_t)n : 0;
    }
    return out;
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

// Numbers of words that are the same in all versions.
enum { WORD_VERSION = 1, WORD_FREE_THREADED = 2 };

// How a published offset gets into a layout.
struct taken {
    size_t from; // of the word's number, in struct published
    size_t to;   // in struct spy_py_layout
    uint16_t max;
};
#define TAKEN(field, max)                                                                          \
    {offsetof(struct published, field), offsetof(struct spy_py_layout, field), max},
static const struct taken taken[] = {PUBLISHED(TAKEN)};
static const struct taken taken_free_threaded[] = {PUBLISHED_FREE_THREADED(TAKEN)};

static uint64_t word_number(const uint8_t *bytes, size_t number)
{
    return spy_py_word(bytes, number * sizeof(uint64_t));
}

bool spy_py_debug_offsets_version(const uint8_t *bytes, size_t len, uint32_t *ret_version,
                                  bool *ret_free_threaded)
{
    if (len < (WORD_FREE_THREADED + 1) * sizeof(uint64_t) || memcmp(bytes, "xdebugpy", 8))
        return false;
    *ret_version = (uint32_t)word_number(bytes, WORD_VERSION);
    *ret_free_threaded = word_number(bytes, WORD_FREE_THREADED) != 0;
    return true;
}

static int take_published(struct spy_py_layout *l, const struct published *at,
                          const struct taken *rows, size_t n, const uint8_t *bytes)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t number = ((const uint8_t *)at)[rows[i].from];
        if (!number)
            continue;
        uint64_t v = word_number(bytes, number);
        if (v > rows[i].max)
            return SPY_ERR_TORN;
        uint16_t offset = (uint16_t)v;
        memcpy((uint8_t *)l + rows[i].to, &offset, sizeof offset);
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

// What the version publishes, or NULL.
static const struct published *find_published(const struct spy_py_layout *l)
{
    for (size_t i = 0; i < SPY_COUNT(versions); i++)
        if (versions[i].layout.major == l->major && versions[i].layout.minor == l->minor)
            return versions[i].at.interp_next ? &versions[i].at : NULL;
    return NULL;
}

int spy_py_layout_apply(struct spy_py_layout *layout, const uint8_t *bytes, size_t len)
{
    struct spy_py_layout l = *layout;
    const struct published *at = find_published(&l);
    if (!at || len < SPY_PY_DEBUG_OFFSETS_SIZE)
        return SPY_ERR_TORN;
    l.free_threaded = word_number(bytes, WORD_FREE_THREADED) != 0;
    if (take_published(&l, at, taken, SPY_COUNT(taken), bytes) < 0)
        return SPY_ERR_TORN;
    if (l.free_threaded) {
        if (take_published(&l, at, taken_free_threaded, SPY_COUNT(taken_free_threaded), bytes) < 0)
            return SPY_ERR_TORN;
        l.str_kind = at->str_kind_free_threaded;
        l.interp_gil = ABSENT;
    }
    // Not published: if the interpreter's own structure has grown, it lies elsewhere.
    if (l.free_threaded || l.interp_threads_head != layout->interp_threads_head)
        l.interp_next_version = 0;
    uint64_t gc = word_number(bytes, at->interp_gc) + word_number(bytes, at->gc_collecting);
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
