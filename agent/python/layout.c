#include "agent/python/layout.h"
#include "shared/base/mem.h"
#include <string.h>

// clang-format off
static const struct spy_py_layout layouts[] = {
    {
        .major = 3, .minor = 11,
        .runtime_interp_head = 40, .runtime_gil = 360,
        .interp_next = 0, .interp_threads_head = 16, .interp_gil = SPY_PY_ABSENT,
        .interp_gc_collecting = 848,
        .ts_next = 8, .ts_interp = 16, .ts_thread_id = 152, .ts_native_id = 160, .ts_chunk = 296,
        .ts_cframe = 56, .ts_frame = 8, .ts_size = 304,
        .f_code = 32, .f_previous = 48, .f_ip = 56, .f_owner = 69, .f_size = 72,
        .owner_generator = 1, .owner_cstack = 255,
        .co_filename = 112, .co_name = 120, .co_qualname = 128, .co_linetable = 136,
        .co_firstlineno = 72, .co_flags = 48, .co_nlocalsplus = 76, .co_stacksize = 68,
        .co_code = 184, .co_firsttraceable = 168,
        .str_ascii_data = 48, .str_compact_data = 72,
    },
    {
        .major = 3, .minor = 12,
        .runtime_interp_head = 40, .runtime_gil = SPY_PY_ABSENT,
        .interp_next = 0, .interp_threads_head = 72, .interp_gil = 384,
        .interp_gc_collecting = 312,
        .ts_next = 8, .ts_interp = 16, .ts_thread_id = 136, .ts_native_id = 144, .ts_chunk = 232,
        .ts_cframe = 56, .ts_frame = 0, .ts_size = 240,
        .f_code = 0, .f_previous = 8, .f_ip = 56, .f_owner = 70, .f_size = 72,
        .owner_generator = 1, .owner_cstack = 3,
        .co_filename = 112, .co_name = 120, .co_qualname = 128, .co_linetable = 136,
        .co_firstlineno = 68, .co_flags = 48, .co_nlocalsplus = 72, .co_stacksize = 64,
        .co_code = 192, .co_firsttraceable = 176,
        .str_ascii_data = 40, .str_compact_data = 56,
    },
    {
        .major = 3, .minor = 13,
        .runtime_interp_head = 632, .runtime_gil = SPY_PY_ABSENT,
        .interp_next = 7264, .interp_threads_head = 7344, .interp_gil = 16,
        .interp_gc_collecting = 7600,
        .ts_next = 8, .ts_interp = 16, .ts_thread_id = 152, .ts_native_id = 160, .ts_chunk = 232,
        .ts_cframe = SPY_PY_ABSENT, .ts_frame = 72, .ts_size = 240,
        .f_code = 0, .f_previous = 8, .f_ip = 56, .f_owner = 70, .f_size = 72,
        .owner_generator = 1, .owner_cstack = 3,
        .co_filename = 112, .co_name = 120, .co_qualname = 128, .co_linetable = 136,
        .co_firstlineno = 68, .co_flags = 48, .co_nlocalsplus = 72, .co_stacksize = 64,
        .co_code = 200, .co_firsttraceable = 184,
        .str_ascii_data = 40, .str_compact_data = 56,
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
    return "3.11, 3.12 and 3.13";
}

// _Py_DebugOffsets of 3.13, in units of 8 bytes from the start of _PyRuntime.
// clang-format off
enum debug_index {
    DBG_COOKIE, DBG_VERSION, DBG_FREE_THREADED,
    DBG_RT_SIZE, DBG_RT_FINALIZING, DBG_RT_INTERP_HEAD,
    DBG_IN_SIZE, DBG_IN_ID, DBG_IN_NEXT, DBG_IN_THREADS_HEAD, DBG_IN_GC, DBG_IN_MODULES,
    DBG_IN_SYSDICT, DBG_IN_BUILTINS, DBG_IN_CEVAL_GIL, DBG_IN_GIL_STATE, DBG_IN_GIL_ENABLED,
    DBG_IN_GIL_LOCKED, DBG_IN_GIL_HOLDER,
    DBG_TS_SIZE, DBG_TS_PREV, DBG_TS_NEXT, DBG_TS_INTERP, DBG_TS_FRAME, DBG_TS_THREAD_ID,
    DBG_TS_NATIVE_ID, DBG_TS_CHUNK, DBG_TS_STATUS,
    DBG_F_SIZE, DBG_F_PREVIOUS, DBG_F_EXECUTABLE, DBG_F_IP, DBG_F_LOCALSPLUS, DBG_F_OWNER,
    DBG_CO_SIZE, DBG_CO_FILENAME, DBG_CO_NAME, DBG_CO_QUALNAME, DBG_CO_LINETABLE,
    DBG_CO_FIRSTLINENO, DBG_CO_ARGCOUNT, DBG_CO_LOCALSPLUSNAMES, DBG_CO_LOCALSPLUSKINDS,
    DBG_CO_CODE,
    DBG_COUNT,
};
// clang-format on

static uint64_t word(const uint8_t *bytes, enum debug_index i)
{
    uint64_t v;
    memcpy(&v, bytes + (size_t)i * sizeof v, sizeof v);
    return v;
}

bool spy_py_debug_offsets_version(const uint8_t *bytes, size_t len, uint32_t *ret_version,
                                  bool *ret_free_threaded)
{
    if (len < (DBG_FREE_THREADED + 1) * sizeof(uint64_t) || memcmp(bytes, "xdebugpy", 8))
        return false;
    *ret_version = (uint32_t)word(bytes, DBG_VERSION);
    *ret_free_threaded = word(bytes, DBG_FREE_THREADED) != 0;
    return true;
}

// Whoever reads a frame or a code object reads f_size or co_code bytes of it.
static bool fields_fit(const struct spy_py_layout *l)
{
    const uint16_t frame[] = {l->f_code, l->f_previous, l->f_ip};
    const uint16_t code[] = {l->co_filename, l->co_name, l->co_qualname, l->co_linetable,
                             l->co_firstlineno};
    for (size_t i = 0; i < SPY_COUNT(frame); i++)
        if (frame[i] + 8 > l->f_size)
            return false;
    for (size_t i = 0; i < SPY_COUNT(code); i++)
        if (code[i] + 8 > l->co_code)
            return false;
    return l->f_owner < l->f_size && l->co_firsttraceable + 4 <= l->co_code;
}

int spy_py_layout_apply(struct spy_py_layout *layout, const uint8_t *bytes, size_t len)
{
    struct spy_py_layout l = *layout;
    const struct {
        enum debug_index from;
        uint16_t *to;
        uint16_t max;
    } rows[] = {
        {DBG_RT_INTERP_HEAD, &l.runtime_interp_head, 4096},
        {DBG_IN_NEXT, &l.interp_next, 32768},
        {DBG_IN_THREADS_HEAD, &l.interp_threads_head, 32768},
        {DBG_IN_CEVAL_GIL, &l.interp_gil, 32768},
        {DBG_TS_NEXT, &l.ts_next, 504},
        {DBG_TS_INTERP, &l.ts_interp, 504},
        {DBG_TS_FRAME, &l.ts_frame, 504},
        {DBG_TS_THREAD_ID, &l.ts_thread_id, 504},
        {DBG_TS_NATIVE_ID, &l.ts_native_id, 504},
        {DBG_TS_CHUNK, &l.ts_chunk, 504},
        {DBG_F_PREVIOUS, &l.f_previous, 64},
        {DBG_F_EXECUTABLE, &l.f_code, 64},
        {DBG_F_IP, &l.f_ip, 64},
        {DBG_F_OWNER, &l.f_owner, 71},
        {DBG_CO_FILENAME, &l.co_filename, 240},
        {DBG_CO_NAME, &l.co_name, 240},
        {DBG_CO_QUALNAME, &l.co_qualname, 240},
        {DBG_CO_LINETABLE, &l.co_linetable, 240},
        {DBG_CO_FIRSTLINENO, &l.co_firstlineno, 240},
        {DBG_CO_CODE, &l.co_code, 248},
    };
    if (len < DBG_COUNT * sizeof(uint64_t))
        return SPY_ERR_TORN;
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        uint64_t v = word(bytes, rows[i].from);
        if (v > rows[i].max)
            return SPY_ERR_TORN;
        *rows[i].to = (uint16_t)v;
    }
    if (!fields_fit(&l))
        return SPY_ERR_TORN;
    const uint16_t fields[] = {l.ts_next,      l.ts_interp,    l.ts_frame,
                               l.ts_thread_id, l.ts_native_id, l.ts_chunk};
    l.ts_size = 0;
    for (size_t i = 0; i < SPY_COUNT(fields); i++)
        if (fields[i] + 8 > l.ts_size)
            l.ts_size = (uint16_t)(fields[i] + 8);
    *layout = l;
    return 0;
}
