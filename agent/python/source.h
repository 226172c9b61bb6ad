// source.h - the interpreter that a mapped file may hold: where it is, its version and layout, and
// whether it runs. Inside of agent/python.
#pragma once
#include "agent/python/runtime.h"
#include "agent/target/symbols.h"

// The file whose symbols are looked up: in memory, or in .symtab of the file itself.
struct spy_py_source {
    const struct spy_target *t;
    const struct spy_maps *maps;
    const struct spy_module *mod;
    struct spy_symbols symbols; // in memory
    bool file;
};

// SPY_ERR_NOTFOUND: it has no symbol of an interpreter. Otherwise the codes of spy_py_runtime_find.
// For a stripped 2.7 to 3.6 in which no thread holds the GIL now, both addr and interp are 0.
int spy_py_source_read(const struct spy_py_source *s, struct spy_py_runtime *ret,
                       struct spy_err *err);
// Finds the version and layout of the interpreter at rt->addr in rt->module. 3.13 and later publish
// it; before that it is in the exported constant Py_Version, and up to 3.10 only in a text.
int spy_py_source_version(const struct spy_py_source *s, struct spy_py_runtime *rt,
                          struct spy_err *err);
// For that stripped interpreter: waits until a thread holds the GIL. SPY_ERR_AGAIN: none took it
// for 50 ms.
int spy_py_wait_for_interp(const struct spy_target *t, struct spy_py_runtime *rt,
                           struct spy_err *err);

// How many threads have a consistent state, up to max. 0: the interpreter does not run.
size_t spy_py_count_threads(const struct spy_target *t, const struct spy_py_runtime *rt,
                            size_t max);
