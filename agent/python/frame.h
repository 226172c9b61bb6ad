// frame.h - the fields of one frame in a copy of it. Inside of agent/python.
//
// These are inline, because an unwind reads them from each frame of each sample. The bytes are the
// target's and may have any value.
//
// Compiled frames: code compiled by Nuitka runs without the interpreter and pushes its own frames,
// so that tracebacks work. Up to 3.10 such a frame is an ordinary frame object; its code object has
// no bytecode, and f_lasti is -1. Since 3.11 it is a _PyInterpreterFrame inside the frame object
// that it points to, behind the fields of PyFrameObject (Nuitka's
// build/include/nuitka/compiled_frame.h). No running frame of the interpreter lies there: its frame
// object is a separate allocation or, once the frame has ended, holds it at fo_data. A compiled
// frame claims to be a generator's, and never says how deep its stack is. Its line is in f_lineno
// of the frame object, from which sys._getframe().f_lineno and tracebacks take it, too.
#pragma once
#include "agent/python/layout.h"
#include "agent/python/word.h"

// True if a frame may lie there. The upper half of all addresses is the kernel's, and sums with
// them could wrap.
static inline bool spy_py_frame_may_lie_at(uint64_t addr)
{
    return !(addr & 7) && !(addr >> 63);
}

static inline uint8_t spy_py_frame_owner(const struct spy_py_layout *l, const uint8_t *f)
{
    return l->f_owner == SPY_PY_ABSENT ? 0 : f[l->f_owner];
}

// Before 3.14 a popped frame keeps its code; later versions clear it.
static inline bool spy_py_keeps_popped(const struct spy_py_layout *l)
{
    return l->f_code_tag == 0;
}

// Which copy of the bytecode the frame runs; 0 if there is only one.
static inline int32_t spy_py_frame_tlbc(const struct spy_py_layout *l, const uint8_t *f)
{
    int32_t index = 0;
    if (l->f_tlbc != SPY_PY_ABSENT)
        memcpy(&index, f + l->f_tlbc, sizeof index);
    return index;
}

// True if the frame says that it runs, or if frames of this version do not say so. For 3.11 to
// 3.13: Include/internal/pycore_frame.h, _PyFrame_GetStackPointer and _PyFrame_SetStackPointer. The
// depth of its stack is in the frame while it calls Python code, and once it has ended.
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

// The address of the frame's instruction. Up to 3.10 f_lasti, an int: -1 if nothing has run yet;
// then f_lineno, which follows it, is in the upper half.
static inline uint64_t spy_py_frame_instruction(const struct spy_py_layout *l, const uint8_t *f)
{
    int32_t lasti;
    if (!l->lasti_bytes)
        return spy_py_word(f, l->f_ip);
    memcpy(&lasti, f + l->f_ip, sizeof lasti);
    return lasti < 0 ? spy_py_word(f, l->f_ip) : (uint64_t)lasti;
}

// How far behind the start of its frame object the frame at addr lies, if it is a compiled frame;
// 0: it is not. 3.11 and later.
static inline uint64_t spy_py_frame_inset(const struct spy_py_layout *l, uint64_t addr,
                                          const uint8_t *f)
{
    if (l->f_object == SPY_PY_ABSENT)
        return 0;
    uint64_t inset = addr - spy_py_word(f, l->f_object);
    return inset > l->fo_data && inset < (uint64_t)l->fo_data + l->f_size ? inset : 0;
}

// True if the frame object, whose bytes begin inset before f, says that this is its frame.
static inline bool spy_py_frame_is_compiled(const struct spy_py_layout *l, uint64_t addr,
                                            const uint8_t *f, uint64_t inset)
{
    return inset && spy_py_word(f - inset, l->fo_frame) == addr;
}

// True if such a frame says that it has ended or yielded: its PyFrameState is negative then in 3.11
// to 3.14 (pycore_frame.h). A value that cannot be a PyFrameState says nothing.
static inline bool spy_py_frame_has_stopped(const struct spy_py_layout *l, const uint8_t *f,
                                            uint64_t inset)
{
    enum { STATE = 16, LEAST = -16 }; // behind _f_frame_data[1] and the generator
    int32_t state;
    if (inset < l->fo_data + STATE + sizeof state)
        return false;
    memcpy(&state, f - inset + l->fo_data + STATE, sizeof state);
    return state < 0 && state > LEAST;
}

// The line of such a frame; 0: not known.
static inline uint32_t spy_py_frame_own_line(const struct spy_py_layout *l, const uint8_t *f,
                                             uint64_t inset)
{
    int32_t line;
    memcpy(&line, f - inset + l->fo_lineno, sizeof line);
    return line > 0 ? (uint32_t)line : 0;
}
