// unwind.h - reads a thread's frames and unwinds its stack from that copy. Inside of agent/python.
#pragma once
#include "agent/python/thread.h"

struct spy_py_read;

// Reads and unwinds until the copy holds every frame. 0: p->scratch holds a stack that was read in
// one piece. `checked`: both copies of the newest frames are compared as well (read.h), which a
// thread that stands still does not need. SPY_ERR_TORN, SPY_ERR_GONE, SPY_ERR_NOMEM.
int spy_py_unwind(const struct spy_target *t, const struct spy_py_layout *l,
                  struct spy_py_thread *th, struct spy_py_scratch *s, bool checked,
                  struct spy_py_facts *ret);

// Reads twice and unwinds once, but compares nothing: the caller validates the stack by further
// reads. The codes of spy_py_unwind.
int spy_py_unwind_unvalidated(const struct spy_target *t, const struct spy_py_layout *l,
                              struct spy_py_thread *th, struct spy_py_scratch *s,
                              struct spy_py_read *b, struct spy_py_facts *ret);

// Copies the part that is shared with the last stack, so that s->recs is the whole stack.
// SPY_ERR_NOMEM; SPY_ERR_LIMIT: too deep.
int spy_py_unwind_flatten(const struct spy_py_thread *th, struct spy_py_scratch *s);
