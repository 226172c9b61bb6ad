// Prints the offsets of agent/python/layout.h as the headers of one interpreter (3.11 and later)
// have them; compiled by test_layout.py against each one that is found. With an argument: the bytes
// of _Py_DebugOffsets that an interpreter of these headers (3.14 and later) publishes.
#define Py_BUILD_CORE 1
#include <Python.h> // before all else of CPython's
#include <stddef.h>

#include "internal/pycore_code.h"
#include "internal/pycore_frame.h"
#include "internal/pycore_gil.h"
#include "internal/pycore_interp.h"
#include "internal/pycore_runtime.h"
#if PY_MINOR_VERSION >= 14
#include "internal/pycore_debug_offsets.h"
#endif

#define PUT(field, value) printf(#field " %zu\n", (size_t)(value))
#define ABSENT            0xffff
#define MINOR             PY_MINOR_VERSION

// The bit of the state of a str where its kind begins.
static int kind_bit(void)
{
    PyASCIIObject s;
    uint32_t state;
    memset(&s, 0, sizeof s);
    s.state.kind = 1;
    memcpy(&state, &s.state, sizeof state);
    return __builtin_ctz(state);
}

static int put_published(void)
{
#if MINOR >= 14
    static const struct _Py_DebugOffsets offsets = _Py_DebugOffsets_INIT(_Py_Debug_Cookie);
    return fwrite(&offsets, sizeof offsets, 1, stdout) != 1;
#else
    return 1;
#endif
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return put_published();
    PUT(runtime_is_head, 0);
    PUT(runtime_gc_collecting, ABSENT);
    PUT(f_executing, ABSENT);
    PUT(runtime_interp_head, offsetof(_PyRuntimeState, interpreters.head));
    PUT(interp_next, offsetof(PyInterpreterState, next));
    PUT(interp_threads_head, offsetof(PyInterpreterState, threads.head));
    PUT(interp_gc_collecting, offsetof(PyInterpreterState, gc.collecting));
    PUT(ts_next, offsetof(PyThreadState, next));
    PUT(ts_interp, offsetof(PyThreadState, interp));
    PUT(ts_thread_id, offsetof(PyThreadState, thread_id));
    PUT(ts_native_id, offsetof(PyThreadState, native_thread_id));
    PUT(ts_chunk, offsetof(PyThreadState, datastack_chunk));
#if MINOR == 11
    PUT(runtime_gil, offsetof(_PyRuntimeState, ceval.gil));
    PUT(interp_gil, ABSENT);
#else
    PUT(runtime_gil, ABSENT);
    PUT(interp_gil, offsetof(PyInterpreterState, ceval.gil));
#if MINOR <= 13
    PUT(owner_entry, FRAME_OWNED_BY_CSTACK);
#else
    PUT(owner_entry, FRAME_OWNED_BY_INTERPRETER);
#endif
#endif
#if MINOR == 13 && !defined(Py_DEBUG) && !defined(Py_GIL_DISABLED)
    PUT(interp_next_version, offsetof(PyInterpreterState, func_state.next_version));
#endif
#if MINOR >= 14
    PUT(interp_code_generation, offsetof(PyInterpreterState, _code_object_generation));
#else
    PUT(interp_code_generation, ABSENT);
#endif
#if MINOR >= 15
    PUT(ts_base, offsetof(PyThreadState, base_frame));
#else
    PUT(ts_base, ABSENT);
#endif
#if MINOR >= 14 && defined(Py_GIL_DISABLED)
    PUT(f_tlbc, offsetof(_PyInterpreterFrame, tlbc_index));
    PUT(co_tlbc, offsetof(PyCodeObject, co_tlbc));
    PUT(interp_tlbc_generation, offsetof(PyInterpreterState, tlbc_indices.tlbc_generation));
#else
    PUT(f_tlbc, ABSENT);
    PUT(co_tlbc, ABSENT);
    PUT(interp_tlbc_generation, ABSENT);
#endif
#if MINOR == 11
    PUT(cframe_previous, offsetof(_PyCFrame, previous));
#else
    PUT(cframe_previous, ABSENT);
#endif
#if MINOR <= 12
    PUT(ts_cframe, offsetof(PyThreadState, cframe));
    PUT(ts_frame, offsetof(_PyCFrame, current_frame));
    PUT(f_code, offsetof(_PyInterpreterFrame, f_code));
    PUT(f_ip, offsetof(_PyInterpreterFrame, prev_instr));
#else
    PUT(ts_cframe, ABSENT);
    PUT(ts_frame, offsetof(PyThreadState, current_frame));
    PUT(f_code, offsetof(_PyInterpreterFrame, f_executable));
    PUT(f_ip, offsetof(_PyInterpreterFrame, instr_ptr));
#endif
#if MINOR <= 13
    PUT(f_stacktop, offsetof(_PyInterpreterFrame, stacktop));
#else
    PUT(f_stacktop, ABSENT);
#endif
    PUT(f_previous, offsetof(_PyInterpreterFrame, previous));
    PUT(f_owner, offsetof(_PyInterpreterFrame, owner));
    PUT(f_object, offsetof(_PyInterpreterFrame, frame_obj));
    PUT(fo_frame, offsetof(PyFrameObject, f_frame));
    PUT(fo_lineno, offsetof(PyFrameObject, f_lineno));
    PUT(fo_data, offsetof(PyFrameObject, _f_frame_data));
    PUT(f_size, offsetof(_PyInterpreterFrame, localsplus));
    PUT(owner_generator, FRAME_OWNED_BY_GENERATOR);
    PUT(co_filename, offsetof(PyCodeObject, co_filename));
    PUT(co_name, offsetof(PyCodeObject, co_name));
    PUT(co_qualname, offsetof(PyCodeObject, co_qualname));
    PUT(co_linetable, offsetof(PyCodeObject, co_linetable));
    PUT(co_firstlineno, offsetof(PyCodeObject, co_firstlineno));
    PUT(co_flags, offsetof(PyCodeObject, co_flags));
    PUT(co_nlocalsplus, offsetof(PyCodeObject, co_nlocalsplus));
    PUT(co_stacksize, offsetof(PyCodeObject, co_stacksize));
    PUT(co_code, offsetof(PyCodeObject, co_code_adaptive));
    PUT(co_firsttraceable, offsetof(PyCodeObject, _co_firsttraceable));
    PUT(str_kind, kind_bit());
    PUT(str_ascii_data, sizeof(PyASCIIObject));
    PUT(str_compact_data, sizeof(PyCompactUnicodeObject));
    PUT(gil_holder, offsetof(struct _gil_runtime_state, last_holder));
    PUT(gil_locked, offsetof(struct _gil_runtime_state, locked));
    PUT(gil_size, sizeof(struct _gil_runtime_state));
    PUT(ob_type, offsetof(PyObject, ob_type));
    PUT(ob_size, offsetof(PyVarObject, ob_size));
    PUT(bytes_data, offsetof(PyBytesObject, ob_sval));
    PUT(str_length, offsetof(PyASCIIObject, length));
    PUT(str_state, offsetof(PyASCIIObject, state));
    PUT(chunk_previous, offsetof(_PyStackChunk, previous));
    PUT(chunk_size, offsetof(_PyStackChunk, size));
    PUT(chunk_header, offsetof(_PyStackChunk, data));
    return 0;
}
