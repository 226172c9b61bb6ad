// source.h - the interpreter that one mapped file may hold: where it is, its version and layout,
// and whether it runs. Inside of agent/python.
#pragma once
#include "agent/python/runtime.h"
#include "agent/target/symbols.h"

// The file in which names are looked up: in its memory, or in .symtab of the file itself.
struct spy_py_source {
    const struct spy_target *t;
    const struct spy_maps *maps;
    const struct spy_module *mod;
    struct spy_symbols symbols; // of its memory
    bool file;
};

// SPY_ERR_NOTFOUND: nothing there is called as an interpreter's variables are. The other codes are
// those of spy_py_runtime_find. Of a stripped 2.7 to 3.6 in which no thread has the GIL just now,
// both addr and interp are 0.
int spy_py_source_read(const struct spy_py_source *s, struct spy_py_runtime *ret,
                       struct spy_err *err);
// Version and layout of what rt->addr, rt->module say. 3.13 and later tell themselves what they
// are; before that the exported constant Py_Version does, and up to 3.10 a text.
int spy_py_source_version(const struct spy_py_source *s, struct spy_py_runtime *rt,
                          struct spy_err *err);
// Of that stripped one: the interpreter, once a thread has the GIL. SPY_ERR_AGAIN: none took it for
// 50 ms.
int spy_py_wait_for_interp(const struct spy_target *t, struct spy_py_runtime *rt,
                           struct spy_err *err);

// How many threads have a state that hangs together; it stops counting at max. 0: it does not run.
size_t spy_py_count_threads(const struct spy_target *t, const struct spy_py_runtime *rt,
                            size_t max);
