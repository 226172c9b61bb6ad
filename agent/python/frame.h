// frame.h - the fields of one frame in a copy of it. Inside of agent/python.
//
// In a header, since the walk reads them of each frame of each sample. The bytes are the target's:
// any value may stand there.
#pragma once
#include "agent/python/layout.h"
#include <string.h>

static inline uint64_t spy_py_word(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint8_t spy_py_frame_owner(const struct spy_py_layout *l, const uint8_t *f)
{
    return l->f_owner == SPY_PY_ABSENT ? 0 : f[l->f_owner];
}

// Which copy of the bytecode it runs; 0 where there is one only.
static inline int32_t spy_py_frame_tlbc(const struct spy_py_layout *l, const uint8_t *f)
{
    int32_t index = 0;
    if (l->f_tlbc != SPY_PY_ABSENT)
        memcpy(&index, f + l->f_tlbc, sizeof index);
    return index;
}

// Does it say that it runs? A version whose frames do not say so has told by other means. For 3.11
// to 3.13: Include/internal/pycore_frame.h, _PyFrame_GetStackPointer and _PyFrame_SetStackPointer.
// The depth of its stack is in the frame while it calls Python code, and once it has ended.
static inline bool spy_py_frame_runs(const struct spy_py_layout *l, const uint8_t *f)
{
    int32_t stacktop;
    if (l->f_executing != SPY_PY_ABSENT)
        return f[l->f_executing] == l->executing;
    if (l->f_stacktop == SPY_PY_ABSENT)
        return true;
    memcpy(&stacktop, f + l->f_stacktop, sizeof stacktop);
    return stacktop == -1;
}

// The address of the instruction it is at; up to 3.10 f_lasti, an int: -1 where nothing has run
// yet.
static inline uint64_t spy_py_frame_instruction(const struct spy_py_layout *l, const uint8_t *f)
{
    int32_t lasti;
    if (!l->lasti_bytes)
        return spy_py_word(f + l->f_ip);
    memcpy(&lasti, f + l->f_ip, sizeof lasti);
    return (uint64_t)(int64_t)lasti;
}
