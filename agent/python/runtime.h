// runtime.h - finding the interpreter inside a process: its version, its layout, its _PyRuntime.
#pragma once
#include "agent/python/layout.h"
#include "agent/target/maps.h"

struct spy_py_runtime {
    uint64_t addr;    // of _PyRuntime; up to 3.6 of interp_head
    uint64_t current; // up to 3.6, of _PyThreadState_Current; else 0
    uint64_t interp;  // the interpreter, where interp_head could not be found; else 0
    char version[24]; // "3.11.2", "3.13.0rc1"
    char module[256]; // the file that holds it
    bool scanned;     // no symbol said so: to be believed once a whole stack was walked
    // Another interpreter that runs in this process too and is not read; "": there is none.
    char other_version[24], other_module[256];
    struct spy_py_layout layout;
};

// Finds the running one of all mapped interpreters: it is initialised, and has threads whose
// states hang together. First the program and the libraries called after Python are asked, and only
// where none of them runs all other mapped files. Of two that run (a program that has embedded
// Python twice), it is the one with more threads, of equally many the program's own or the one that
// was mapped first.
//
// SPY_ERR_NOTFOUND: no Python in this process, or none was found within half a second of CPU time,
// which err tells. SPY_ERR_UNSUPPORTED: a version this build does not know, or another Python than
// CPython (others.h), named in err. SPY_ERR_AGAIN: a Python that has not initialised its runtime
// yet. SPY_ERR_DENIED, SPY_ERR_GONE. Takes a few dozen small reads.
int spy_py_runtime_find(const struct spy_target *t, struct spy_py_runtime *ret,
                        struct spy_err *err);
