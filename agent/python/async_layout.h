// async_layout.h - where the fields of asyncio's objects and of coroutines lie: a row for each
// CPython version, beside those of layout.h. Inside of agent/python.
//
// The structures are those of Modules/_asynciomodule.c and Include/cpython/genobject.h. Offsets are
// bytes from the start of the object: up to 3.13 from the debug information of each version's
// _asyncio, since then from its headers. tests/contract/dump/test_async.py compares what is read by
// them with what each interpreter that is installed says of itself.
#pragma once
#include "agent/python/layout.h"

// How the frame of a generator says what it awaits.
enum spy_py_yields {
    SPY_PY_YIELDS_POINTER, // 3.8, 3.9: f_stacktop points behind it; the next instruction tells
    SPY_PY_YIELDS_DEPTH,  // 3.10: f_stackdepth counts from f_valuestack; the next instruction tells
    SPY_PY_YIELDS_RESUME, // 3.11, 3.12: stacktop counts from the locals; RESUME's argument tells
    SPY_PY_YIELDS_STATE,  // 3.13: stacktop counts from the locals; the state tells
    SPY_PY_YIELDS_STACK,  // 3.14, 3.15: stackpointer; the state tells
};

struct spy_py_async_layout {
    uint8_t major, minor;
    // FutureObj, and TaskObj, which begins like it
    uint16_t fut_loop, fut_callback0, fut_callbacks, fut_state;
    uint16_t fut_awaited_by, fut_awaited_by_is_set; // 3.14+; else ABSENT
    uint16_t task_cancels;                          // an int that is not 0 while it is cancelled
    uint16_t task_waiter, task_coro, task_name;
    uint16_t task_head; // bytes to read so that all of the above are there
    // PyGenObject
    uint16_t gen_frame; // up to 3.10 a pointer to the frame, else the frame itself
    uint16_t gen_state; // 3.11+: a signed byte
    int8_t state_executing, state_awaits, state_awaits_last, state_first,
        state_last; // first to last: it has a frame
    enum spy_py_yields yields;
    uint16_t f_stack, f_stack_depth; // of the frame; see enum spy_py_yields
    uint8_t stack_back;              // words from the top of the stack to what it awaits
    // PyInterpreterState
    uint16_t interp_modules; // the dict sys.modules
    // PyThreadState
    uint16_t ts_dict;         // up to 3.12 a dict with the running loop; else ABSENT
    uint16_t ts_running_loop; // 3.13; later it is published
    // PyFunctionObject
    uint16_t function_code, function_closure, function_module;
    // 3.13+: where _Py_DebugOffsets has these, as the number of a word; 0: not published.
    uint8_t at_modules, at_gen_frame, at_gen_state, at_stack;
    uint8_t at_running_loop; // 3.13: the size of a PyThreadState, which it follows
};

// What _asyncio publishes since 3.14: a row of words, struct _Py_AsyncioModuleDebugOffsets.
struct spy_py_async_published {
    uint64_t task_size, task_name, task_awaited_by, task_is_task, task_awaited_by_is_set, task_coro,
        task_node;
    uint64_t interp_size, interp_tasks;
    uint64_t ts_size, ts_running_loop, ts_running_task, ts_tasks;
};

// The layout for an interpreter. SPY_ERR_UNSUPPORTED: its version has no row.
int spy_py_async_layout_of(const struct spy_py_layout *l, struct spy_py_async_layout *ret);
// Puts what the interpreter publishes (layout.h: SPY_PY_DEBUG_OFFSETS_SIZE bytes) into *l.
// SPY_ERR_TORN: a value exceeds its bound.
int spy_py_async_layout_apply(struct spy_py_async_layout *l, const uint8_t *bytes, size_t len);
// True if all of them can be what an interpreter of this layout publishes.
bool spy_py_async_published_fit(const struct spy_py_async_published *a,
                                const struct spy_py_async_layout *l);
