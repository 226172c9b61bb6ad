// stack.h - from a walked chain of frames to the stack that is given. Inside of agent/python.
//
// In this order, after a walk that left its chain in p->scratch: resolve, hangs_together, take.
// What a stack shares with the thread's last one is neither copied nor judged again.
#pragma once
#include "agent/python/inside.h"

// Gives the frames of the chain their code objects (ids of p->codes), read or checked where the
// facts do not say that they are as they were. p->codes.fresh: see code.h. SPY_ERR_NOMEM,
// SPY_ERR_LIMIT, or what reading the target failed with.
int spy_py_stack_resolve(struct spy_python *p, struct spy_py_thread *th,
                         const struct spy_py_facts *facts);

// Before that: are all code objects of the chain known and settled (code.h), and nothing else to be
// read to tell where its frames stand?
bool spy_py_stack_is_settled(const struct spy_python *p, const struct spy_py_thread *th,
                             const struct spy_py_facts *facts);

// Is it a stack that a program can have? Each frame has a code object and stands at an instruction
// of it, neighbours on the data stack touch, and the outermost one there begins it.
bool spy_py_stack_hangs_together(struct spy_python *p, const struct spy_py_thread *th);

// Keeps the chain as the thread's last stack, with the lines of its frames. Of *ret it sets n_same
// and unchanged. The generation is that of the facts. SPY_ERR_NOMEM, SPY_ERR_LIMIT: the last stack
// is not to be used any more.
int spy_py_stack_take(struct spy_python *p, struct spy_py_thread *th, uint64_t generation,
                      struct spy_py_stack *ret);
