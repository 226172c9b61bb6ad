// locals.h - the variables of one frame of a target: their names and the objects they hold.
//
// They come in the interpreter's own order: arguments (positional, keyword-only, *args, **kwargs),
// other local variables, cells, free variables. A variable that is not bound is left out. A cell, a
// variable that inner functions share, is listed once, with the object in it; an argument that is
// also a cell stands among the arguments. A module or a class keeps its variables in a dict, and
// they are not listed.
//
// The variables may have changed since the stack was read: hold the thread, or all threads that may
// change them, until the values are printed (pause.h).
#pragma once
#include "agent/python/python.h"
#include "shared/base/buf.h"

enum { SPY_PY_LOCALS_MAX = 1024 }; // of a frame; what is more is left out

struct spy_py_local {
    uint64_t value; // the object's address
    uint32_t name;  // where it begins in the names, see spy_py_local_name
    bool is_argument, is_cell, is_free;
};

struct spy_py_locals {
    struct spy_py_local *list; // owned
    size_t n, cap;
    struct spy_buf names;
    bool truncated;
};

// The variables of frame i of the last stack given for th. *at is 0 with the first frame, and then
// what the previous frame left there. ret is zero-initialised or was used before; its memory is
// used again. Empty for a compiled frame (frame.h), whose variables are not where the interpreter
// keeps its own. SPY_ERR_NOTFOUND: there is no such frame; else the codes of spy_py_locals_read.
int spy_python_locals(struct spy_python *p, const struct spy_py_thread *th, size_t i, size_t *at,
                      struct spy_py_locals *ret);
// The variables of a frame and its code object: `frame` and `code` are addresses as the interpreter
// keeps them (layout.h). SPY_ERR_TORN: the frame does not run this code object, or a name cannot be
// read; SPY_ERR_GONE, SPY_ERR_DENIED, SPY_ERR_NOMEM. On failure ret is empty.
int spy_py_locals_read(const struct spy_target *t, const struct spy_py_layout *l, uint64_t frame,
                       uint64_t code, struct spy_py_locals *ret);
void spy_py_locals_done(struct spy_py_locals *locals);

// UTF-8, as spy_py_text gives it.
static inline const char *spy_py_local_name(const struct spy_py_locals *locals, size_t i)
{
    return spy_buf_str(&locals->names) + locals->list[i].name;
}
