// layout.h - where things lie inside an interpreter: one row for each CPython minor version. Inside
// of agent/python.
//
// All offsets are bytes from the start of their structure. For 2.7 to 3.12 they are constants from
// CPython's own headers (tests/unit/agent/python compiles those of every installed interpreter).
// Since 3.13 the interpreter publishes most of them in _Py_DebugOffsets at the start of _PyRuntime
// (Include/internal/pycore_debug_offsets.h), and the row supplies the rest.
#pragma once
#include "shared/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SPY_PY_ABSENT = 0xffff };  // this version has no such field
enum { SPY_PY_OWNER_OBJECT = 2 }; // FRAME_OWNED_BY_FRAME_OBJECT, in 3.11 to 3.15

struct spy_py_layout {
    uint8_t major, minor;
    // _PyRuntimeState. Up to 3.6 it does not exist: these are offsets from the variable
    // interp_head, and the GIL's holder is what _PyThreadState_Current points to.
    bool runtime_is_head;
    uint16_t runtime_interp_head;
    uint16_t runtime_gil;           // 3.7 to 3.11: the GIL itself lies here; else ABSENT
    uint8_t runtime_gil_since;      // from this micro version on; before, its place is not known
    uint16_t runtime_gc_collecting; // 3.7, 3.8; later it is in the interpreter
    // PyInterpreterState
    uint16_t interp_next, interp_threads_head;
    uint16_t interp_gil; // 3.12+: pointer to the GIL
    uint16_t interp_gc_collecting;
    uint16_t interp_code_generation; // 3.14+: rises whenever a code object is freed
    uint16_t interp_tlbc_generation; // free-threaded 3.14+: whenever copies of bytecode are freed
    // 3.13: the co_version of the next code object (func_state.next_version, 32 bits; 0 once they
    // ran out); else 0. Up to 3.12 this is not kept by interpreter.
    uint32_t interp_next_version;
    // PyThreadState
    uint16_t ts_next, ts_interp, ts_thread_id, ts_native_id, ts_chunk;
    uint16_t ts_cframe; // 3.11, 3.12: pointer to a _PyCFrame; later ABSENT
    uint16_t ts_frame;  // current_frame: in the _PyCFrame, else in the thread state
    uint16_t ts_base;   // 3.15: pointer to a frame inside of the thread state that ends every stack
    uint16_t cframe_previous; // 3.11: in a _PyCFrame, pointer to the one before; else ABSENT
    uint16_t ts_size;         // bytes to read so that all of the above are there
    // _PyInterpreterFrame; up to 3.10 PyFrameObject, which lies on the heap
    bool heap_frames;
    uint16_t f_code, f_previous, f_ip, f_owner, f_size; // f_size: without locals
    uint16_t f_executing; // up to 3.10: a byte that says that the frame runs; ABSENT up to 3.3
    uint8_t executing;    // when it has this value
    uint16_t f_stacktop;  // 3.11 to 3.13: an int, -1 while the frame runs; else ABSENT
    // 3.11+: pointer to the PyFrameObject of a frame, which exists once a program asked for it; and
    // its fields: pointer back to the frame, line, where a frame that has ended is kept.
    uint16_t f_object, fo_frame, fo_lineno, fo_data;
    // Up to 3.10 f_ip is f_lasti, an int: bytes of bytecode (1), or code units (2). 0: a pointer.
    uint8_t lasti_bytes;
    uint8_t unit_bytes; // of a code unit: 2, or 1 before 3.6
    uint8_t lines;      // enum spy_linetable_format
    uint16_t f_tlbc;    // free-threaded 3.14+: which copy of the bytecode it runs; else ABSENT
    uint8_t f_code_tag; // bits of f_code that are not of the address (_PyStackRef)
    // Kinds of frames (enum _frameowner). owner_entry and above: not a function, but an entry of
    // the interpreter from C. A compiled frame gets SPY_PY_OWNER_OBJECT (frame.h).
    uint8_t owner_generator, owner_entry;
    // PyCodeObject
    uint16_t co_filename, co_name, co_qualname, co_linetable, co_firstlineno, co_flags;
    uint16_t co_nlocalsplus, co_stacksize, co_firsttraceable;
    uint16_t co_code;  // the bytecode itself; up to 3.10 a pointer to a bytes object
    uint16_t co_units; // ob_size, the number of code units; up to 3.10 that pointer
    uint16_t co_head;  // bytes to read so that all fields are there
    uint16_t co_tlbc;  // free-threaded 3.14+: pointer to the copies of the bytecode; else ABSENT
    // PyUnicodeObject: data follows the header of an ASCII or a compact string
    uint16_t str_ascii_data, str_compact_data, str_length, str_state;
    uint8_t str_kind; // bit of the state where kind begins; compact and ascii follow its three bits
    // PyObject_HEAD, PyVarObject.ob_size, PyBytesObject.ob_sval
    uint16_t ob_type, ob_size, bytes_data;
    bool str_is_bytes; // 2.7: names are bytes
    bool free_threaded;
};

// GIL: struct _gil_runtime_state; the same in 3.11 to 3.15 on 64-bit Linux.
enum { SPY_GIL_HOLDER = 8, SPY_GIL_LOCKED = 16, SPY_GIL_SIZE = 208 };

// _PyStackChunk: previous, size, top, data (Include/cpython/pystate.h).
enum { SPY_CHUNK_PREVIOUS = 0, SPY_CHUNK_SIZE = 8, SPY_CHUNK_HEADER = 24 };

// The row of a version, or NULL if there is none.
const struct spy_py_layout *spy_py_layout_find(unsigned major, unsigned minor);
// The layout of a PY_VERSION_HEX, also of micro versions that differ. SPY_ERR_UNSUPPORTED: there is
// no row of its version.
int spy_py_layout_of_hex(uint32_t hex, struct spy_py_layout *ret);
// "2.7 and 3.3 to 3.15", made from the rows, for messages. Returns out.
enum { SPY_PY_SUPPORTED = 64 }; // bytes that out needs
const char *spy_py_layout_supported(char *out, size_t size);

// Up to 3.10: changes the row to that of a build with Py_TRACE_REFS, which up to 3.7 every debug
// build has: all objects begin with two more pointers (_PyObject_HEAD_EXTRA).
void spy_py_layout_trace_refs(struct spy_py_layout *layout);

// Bytes of _Py_DebugOffsets that spy_py_layout_apply wants.
enum { SPY_PY_DEBUG_OFFSETS_SIZE = 888 };
// True if this is the start of a _PyRuntime with debug offsets. *ret_version is its PY_VERSION_HEX.
bool spy_py_debug_offsets_version(const uint8_t *bytes, size_t len, uint32_t *ret_version,
                                  bool *ret_free_threaded);
// Puts the offsets that the interpreter publishes into *layout. Every offset is bounded;
// SPY_ERR_TORN if one exceeds its bound, which does not happen in an interpreter of that version.
// layout->minor decides which fields there are, and where.
int spy_py_layout_apply(struct spy_py_layout *layout, const uint8_t *bytes, size_t len);
