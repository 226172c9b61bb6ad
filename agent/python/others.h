// others.h - recognises Pythons other than CPython, which are named to the user and not read.
// Inside of agent/python.
#pragma once
#include "agent/target/symbols.h"

// What the program (its path; "": not known) or one of the n mapped files is by its name: "PyPy",
// "GraalPy", "MicroPython". NULL: none of these.
const char *spy_py_other(const char *exe, const struct spy_module *mods, size_t n);
