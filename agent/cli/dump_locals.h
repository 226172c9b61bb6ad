// dump_locals.h - the variables of a thread's frames, for dump. Inside of agent/cli.
//
// A thread is held while its variables are read, for SPY_DUMP_HOLD_MS at most: they are its own, but
// what they refer to may be changed by other threads at that moment, and such a value's text may be
// wrong. With SPY_PAUSE_NEVER, and where the thread cannot be held, the same is true of all.
#pragma once
#include "agent/python/locals.h"
#include "agent/python/value.h"

enum { SPY_DUMP_HOLD_MS = 100 };

struct spy_dump_locals {
    unsigned level; // how often -l was given; 0: no variables
    bool redact;    // see value.h

    // What belongs to the thread that is held or being printed.
    struct spy_py_values *values;
    struct spy_py_locals locals;
    size_t at;            // see spy_python_locals
    uint64_t deadline_ns; // CLOCK_MONOTONIC; 0: none
    bool late;            // it has passed
};

// Before the frames of a thread, innermost first, and after them. The runtime is borrowed.
// SPY_ERR_NOMEM.
int spy_dump_locals_begin(struct spy_dump_locals *l, const struct spy_target *t,
                          const struct spy_py_runtime *rt, uint64_t deadline_ns);
void spy_dump_locals_end(struct spy_dump_locals *l);
void spy_dump_locals_done(struct spy_dump_locals *l);

// Frame i of the last stack of th, as lines of text, or as the value of "locals" in JSON: null, or a
// list as py-spy prints it.
void spy_dump_locals_text(struct spy_dump_locals *l, struct spy_python *py,
                          const struct spy_py_thread *th, size_t i, struct spy_buf *out);
void spy_dump_locals_json(struct spy_dump_locals *l, struct spy_python *py,
                          const struct spy_py_thread *th, size_t i, struct spy_buf *out);
