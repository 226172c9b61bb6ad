// runtime.h - the interpreter inside a process: its version, its layout, its _PyRuntime.
#pragma once
#include "agent/python/layout.h"

enum {
    SPY_PY_THREADS_MAX = 8192, // sampled of a process; python.h says what happens past it
    SPY_PY_INTERPRETERS_MAX = 256,
};

struct spy_py_runtime {
    uint64_t addr;    // of _PyRuntime; up to 3.6 of interp_head
    uint64_t current; // up to 3.6, of _PyThreadState_Current; else 0
    uint64_t interp;  // the interpreter, if interp_head was not found; else 0
    char version[24]; // "3.11.2", "3.13.0rc1"
    char module[256]; // the file that holds it
    bool scanned;     // found without symbols: accepted only after a whole stack was unwound
    // Another interpreter that runs in this process but is not read; "": there is none.
    char other_version[24], other_module[256];
    struct spy_py_layout layout;
};
