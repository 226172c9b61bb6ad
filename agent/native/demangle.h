// demangle.h - names of symbols as people read them: C++ (Itanium ABI) and Rust (legacy and v0) by
// libiberty, which knows all of them and needs no C++ library; Cython (cython.h) as in its source.
//
// A name comes from the target. A short one can stand for gigabytes, since parts refer to parts: it
// is given up after SPY_DEMANGLED_MAX bytes and then shown as it is.
#pragma once
#include <stdbool.h>
#include <stddef.h>

enum { SPY_DEMANGLED_MAX = 4096 };

// False: the name is shown as it stands, and nothing need be made.
bool spy_demangle_changes(const char *name, size_t max_len);
// The readable name, to be freed; cut to max_len before. A part that the compiler split off a
// function (".cold", ".cold.3") has the function's name, and so has a function that was renamed when
// files were joined (".lto_priv.0"). NULL without memory.
char *spy_demangle(const char *name, size_t max_len);
