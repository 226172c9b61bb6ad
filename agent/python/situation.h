// situation.h - what a dump says of a thread besides its stack. Each is read by itself, later than
// the stack: of a running process it may be true of a later moment. Inside of agent/python and of
// commands.
#pragma once
#include "agent/python/python.h"

struct spy_py_situation {
    int64_t interpreter; // its number; 0: the main interpreter; -1: not known, as up to 3.6
    bool asked_to_drop;  // another thread has asked its interpreter to give up the GIL
};

struct spy_py_situation spy_python_situation(const struct spy_python *p,
                                             const struct spy_py_thread *th);

// How frame i of the last stack given for th was entered, as py-spy says it. *at is 0 with the
// first frame, and then what the previous frame left there.
struct spy_py_entry {
    bool is_entry; // from C; up to 3.10 each frame is, and since 3.12 is_shim says it instead
    bool is_shim;  // since 3.12: the frame below is the interpreter's own, which is not given
};
struct spy_py_entry spy_python_entry(const struct spy_python *p, const struct spy_py_thread *th,
                                     size_t i, size_t *at);
