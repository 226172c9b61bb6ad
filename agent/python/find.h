// find.h - finds the interpreter that runs inside a process. Inside of agent/python.
#pragma once
#include "agent/python/runtime.h"
#include "agent/target/target.h"

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
