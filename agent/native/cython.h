// cython.h - functions that Cython wrote, by the names of their symbols.
//
// Cython 0.29 and 3 call what they make of `func` in the module pkg.mod, which comes from mod.pyx:
//
//     __pyx_pw_3pkg_3mod_1func     what Python calls: takes the arguments apart
//     __pyx_pf_3pkg_3mod_func      its body (def), with the function's number before its name
//     __pyx_f_3pkg_3mod_func       a cdef function
//
// A class is one part more: __pyx_pw_3mod_5Class_3method. A part and a number look alike where a
// function's name has an underscore at that very place: it may lose its first word then.
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct spy_cython_name {
    const char *function; // into the symbol's name
    size_t function_len;
    const char *module; // its last part: of pkg.mod, "mod"
    size_t module_len;
    bool is_wrapper; // __pyx_pw_: the body is a function of its own, or inlined in it
};

// False: the symbol is not Cython's.
bool spy_cython_parse(const char *symbol, size_t max_len, struct spy_cython_name *ret);
