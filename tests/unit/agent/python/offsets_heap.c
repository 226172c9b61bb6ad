// The same as offsets.c for interpreters up to 3.10, whose frames are objects on the heap.
#define Py_BUILD_CORE         1
#define Py_BUILD_CORE_BUILTIN 1
#include <Python.h>
#include <frameobject.h>
#include <stddef.h>
#include <stdio.h>
#if PY_VERSION_HEX >= 0x03080000
#include "internal/pycore_pystate.h"
#elif PY_VERSION_HEX >= 0x03070000
#include "internal/gil.h"
#include "internal/pystate.h"
#endif
#if PY_VERSION_HEX >= 0x03090000
#include "internal/pycore_interp.h"
#include "internal/pycore_runtime.h"
#endif

#define PUT(field, value) printf(#field " %zu\n", (size_t)(value))
#define ABSENT            0xffff
#define MINOR             PY_MINOR_VERSION

#if PY_MAJOR_VERSION == 3
// The bit of the state of a str where its kind begins.
static int kind_bit(void)
{
    PyASCIIObject s;
    unsigned state;
    memset(&s, 0, sizeof s);
    s.state.kind = 1;
    memcpy(&state, &s.state, sizeof state);
    return __builtin_ctz(state);
}
#endif

static void runtime(void)
{
#if PY_MAJOR_VERSION == 3 && MINOR >= 7
    PUT(runtime_is_head, 0);
    PUT(runtime_interp_head, offsetof(_PyRuntimeState, interpreters.head));
    PUT(runtime_gil, offsetof(_PyRuntimeState, ceval.gil));
    PUT(interp_next, offsetof(PyInterpreterState, next));
    PUT(interp_threads_head, offsetof(PyInterpreterState, tstate_head));
    PUT(gil_holder, offsetof(struct _gil_runtime_state, last_holder));
    PUT(gil_locked, offsetof(struct _gil_runtime_state, locked));
    PUT(gil_size, sizeof(struct _gil_runtime_state));
#else
    PUT(runtime_is_head, 1);
    PUT(runtime_interp_head, 0);
    PUT(runtime_gil, ABSENT);
    PUT(interp_next, offsetof(PyInterpreterState, next));
    PUT(interp_threads_head, offsetof(PyInterpreterState, tstate_head));
#endif
#if PY_MAJOR_VERSION == 3 && (MINOR == 7 || MINOR == 8)
    PUT(runtime_gc_collecting, offsetof(_PyRuntimeState, gc.collecting));
    PUT(interp_gc_collecting, ABSENT);
#elif PY_MAJOR_VERSION == 3 && MINOR >= 9
    PUT(runtime_gc_collecting, ABSENT);
    PUT(interp_gc_collecting, offsetof(PyInterpreterState, gc.collecting));
#else
    PUT(runtime_gc_collecting, ABSENT);
    PUT(interp_gc_collecting, ABSENT);
#endif
}

static void frame(void)
{
    PUT(f_stacktop, ABSENT);
    PUT(f_code, offsetof(PyFrameObject, f_code));
    PUT(f_previous, offsetof(PyFrameObject, f_back));
    PUT(f_ip, offsetof(PyFrameObject, f_lasti));
#if PY_MAJOR_VERSION == 3 && MINOR >= 10
    PUT(f_executing, offsetof(PyFrameObject, f_state));
    PUT(executing, FRAME_EXECUTING);
#elif PY_MAJOR_VERSION == 3 && MINOR >= 4
    PUT(f_executing, offsetof(PyFrameObject, f_executing));
    PUT(executing, 1);
#else
    PUT(f_executing, ABSENT);
#endif
}

static void code(void)
{
    PUT(co_filename, offsetof(PyCodeObject, co_filename));
    PUT(co_name, offsetof(PyCodeObject, co_name));
    PUT(co_qualname, offsetof(PyCodeObject, co_name));
#if PY_MAJOR_VERSION == 3 && MINOR >= 10
    PUT(co_linetable, offsetof(PyCodeObject, co_linetable));
#else
    PUT(co_linetable, offsetof(PyCodeObject, co_lnotab));
#endif
    PUT(co_firstlineno, offsetof(PyCodeObject, co_firstlineno));
    PUT(co_flags, offsetof(PyCodeObject, co_flags));
    PUT(co_nlocalsplus, offsetof(PyCodeObject, co_nlocals));
    PUT(co_stacksize, offsetof(PyCodeObject, co_stacksize));
    PUT(co_code, offsetof(PyCodeObject, co_code));
    PUT(co_units, offsetof(PyCodeObject, co_code));
}

static void objects(void)
{
    PUT(ob_type, offsetof(PyObject, ob_type));
    PUT(ob_size, offsetof(PyVarObject, ob_size));
#if PY_MAJOR_VERSION == 3
    PUT(bytes_data, offsetof(PyBytesObject, ob_sval));
    PUT(str_kind, kind_bit());
    PUT(str_ascii_data, sizeof(PyASCIIObject));
    PUT(str_compact_data, sizeof(PyCompactUnicodeObject));
    PUT(str_length, offsetof(PyASCIIObject, length));
    PUT(str_state, offsetof(PyASCIIObject, state));
#else
    PUT(bytes_data, offsetof(PyStringObject, ob_sval));
#endif
}

int main(void)
{
    runtime();
    PUT(ts_next, offsetof(PyThreadState, next));
    PUT(ts_interp, offsetof(PyThreadState, interp));
    PUT(ts_frame, offsetof(PyThreadState, frame));
    PUT(ts_thread_id, offsetof(PyThreadState, thread_id));
    frame();
    code();
    objects();
    return 0;
}
