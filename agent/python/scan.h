// scan.h - the last resort: finds an interpreter in a program without symbols. Inside of
// agent/python.
//
// A stripped program that has CPython linked in without exporting it (no -rdynamic) does not name
// _PyRuntime. Since 3.13 that variable begins with a cookie. Before, each interpreter keeps a text
// "3.11.2 (main, ...) [GCC ...]" in its data once sys.version was made (getversion.c), which gives
// the version; and _PyRuntime.interpreters.head (interp_head up to 3.6) is the word p of the
// program's data with p->threads.head->interp == p. The caller accepts what is found only after
// unwinding a whole stack.
#pragma once
#include "agent/python/runtime.h"
#include "agent/target/symbols.h"

// Bounds for each module.
enum { SPY_PY_SCAN_BYTES_MAX = 64 << 20, SPY_PY_SCAN_CANDIDATES_MAX = 16384 };

// Scans the writable data of each module once, until `give_up` (spy_clock_thread_cpu_ns).
// Fills addr, version and layout of *ret. SPY_ERR_NOTFOUND; SPY_ERR_UNSUPPORTED: an unknown
// version, named in err.
int spy_py_scan(const struct spy_target *t, const struct spy_maps *maps,
                const struct spy_module *mods, size_t n, uint64_t give_up,
                struct spy_py_runtime *ret, struct spy_err *err);
// Finds only the version, from that text: "3.9.2", for a module that has symbols but whose file
// name has no version. False: there is none.
bool spy_py_scan_version(const struct spy_target *t, const struct spy_maps *maps,
                         const struct spy_module *mod, char *out, size_t size);
