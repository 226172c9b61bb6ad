// runtime.h - finding the interpreter inside a process: its version, its layout, its _PyRuntime.
#pragma once
#include "agent/python/layout.h"
#include "agent/target/maps.h"

struct spy_py_runtime {
    uint64_t addr;        // of _PyRuntime; up to 3.6 of interp_head
    uint64_t current;     // up to 3.6, of _PyThreadState_Current; else 0
    uint64_t interp;      // the interpreter, where interp_head could not be found; else 0
    uint32_t version_hex; // PY_VERSION_HEX: 0x030b02f0 is 3.11.2 final
    char version[24];     // "3.11.2", "3.13.0rc1"
    char module[256];     // the file that holds it
    bool scanned;         // no symbol said so: to be believed once a whole stack was walked
    struct spy_py_layout layout;
};

// SPY_ERR_NOTFOUND: no Python in this process. SPY_ERR_UNSUPPORTED: a version this build does not
// know, named in err. SPY_ERR_AGAIN: a Python that has not initialised its runtime yet.
// SPY_ERR_DENIED, SPY_ERR_GONE. Takes a few dozen small reads.
int spy_py_runtime_find(const struct spy_target *t, struct spy_py_runtime *ret,
                        struct spy_err *err);
