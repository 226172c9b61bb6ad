// find.h - finds the interpreter that runs inside a process. Inside of agent/python.
#pragma once
#include "agent/python/runtime.h"
#include "agent/target/target.h"

// Finds the interpreter in use among all that are mapped: it is initialised, and has threads whose
// states are consistent. Searches the program and the libraries named after Python first, and all
// other mapped files only if none of those runs. If two run (a program that has embedded Python
// twice), the one with more threads is chosen; of equals, the program's own, or the interpreter
// that was mapped first.
//
// SPY_ERR_NOTFOUND: no Python in this process, or none found within half a second of CPU time,
// which err says. SPY_ERR_UNSUPPORTED: a version that this build does not know, or a Python that is
// not CPython (others.h), named in err. SPY_ERR_AGAIN: a Python that has not initialised its
// runtime yet. SPY_ERR_DENIED, SPY_ERR_GONE. Takes a few dozen small reads.
int spy_py_runtime_find(const struct spy_target *t, struct spy_py_runtime *ret,
                        struct spy_err *err);
