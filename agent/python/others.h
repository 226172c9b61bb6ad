// others.h - Pythons that are not CPython: named to the user, and not read. Inside of agent/python.
#pragma once
#include "agent/target/symbols.h"

// What the program (its path; "": not known) or one of the n mapped files says that it is: "PyPy",
// "GraalPy", "MicroPython". NULL: none of them.
const char *spy_py_other(const char *exe, const struct spy_module *mods, size_t n);
