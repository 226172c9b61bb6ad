// stack.h - from an unwound chain of frames to the stack that is given. Inside of agent/python.
//
// The order after an unwind, which leaves its chain in p->scratch: resolve, validate, keep. What a
// stack shares with the thread's last one is neither copied nor validated again.
#pragma once
#include "agent/python/reader.h"

// Finds the code objects of the chain's frames (ids of p->codes), and reads or checks those that
// may have changed according to the facts. p->codes.fresh: see code.h. SPY_ERR_NOMEM,
// SPY_ERR_LIMIT, or the code of a read of the target that failed.
int spy_py_stack_resolve(struct spy_python *p, struct spy_py_thread *th,
                         const struct spy_py_facts *facts);

// Call it before resolve. True if all code objects of the chain are known and settled (code.h), and
// nothing else must be read to find the lines of its frames.
bool spy_py_stack_is_settled(const struct spy_python *p, const struct spy_py_thread *th,
                             const struct spy_py_facts *facts);

// 0 if a program can have this stack: each frame has a code object and is at one of its
// instructions, neighbours on the data stack touch, and the outermost frame there begins it. Else
// SPY_ERR_TORN.
int spy_py_stack_validate(struct spy_python *p, const struct spy_py_thread *th);

// Keeps the chain as the thread's last stack, with the lines of its frames. Completes *stack: its
// frames, n, truncated, n_same and unchanged. slices: how often the thread had been given a CPU
// before it was read; 0: not known. SPY_ERR_NOMEM, SPY_ERR_LIMIT: the last stack is forgotten.
int spy_py_stack_keep(struct spy_python *p, struct spy_py_thread *th,
                      const struct spy_py_facts *facts, uint64_t slices,
                      struct spy_py_stack *stack);
// The thread's last stack no longer says what it does.
void spy_py_stack_forget(struct spy_py_thread *th);
// The thread has not run since its last stack, but waits for a CPU now.
void spy_py_stack_set_runnable(struct spy_py_thread *th);
