// attempt.h - how the stack of one thread is read: while the thread runs, and
// when that fails, or fails often, with the thread paused. Inside of agent/python.
//
// What was read is in p->scratch, its code objects resolved, and judged by all that stack.h and
// walk.h know; nothing of it is the thread's yet.
#pragma once
#include "agent/python/inside.h"

// Do so many reads of this thread without a pause fail?
bool spy_py_attempt_is_torn_often(const struct spy_py_thread *th);
// Do so many reads of this thread fail that it is to be paused at once? See python.h.
bool spy_py_attempt_wants_pause(const struct spy_py_thread *th, const struct spy_py_options *o);
// Do they, and it is not to be paused? Then those that succeed are judged more strictly.
bool spy_py_attempt_is_hasty(const struct spy_py_thread *th, const struct spy_py_options *o);
// And is one read of it that hangs together no proof? Where a popped frame keeps its code, a
// program of short calls may call another function and come back between two copies: up to 3.10,
// where a read of frames far apart takes some 8 us, one in 100 of those that hang together was of
// no instant, and one in 1000 on 3.12. There salvage.h tells the whole, too.
bool spy_py_attempt_needs_looks(const struct spy_python *p, const struct spy_py_thread *th,
                                const struct spy_py_options *o);
// Counts whether a first read without a pause failed: what both answers above go by.
void spy_py_attempt_note(struct spy_py_thread *th, bool torn);

// One read without a pause. SPY_ERR_TORN, SPY_ERR_GONE, SPY_ERR_NOMEM.
int spy_py_attempt_clean(struct spy_python *p, struct spy_py_thread *th,
                         struct spy_py_facts *facts);
// One read of a thread that stands still, which the caller knows or will find out. The same codes.
int spy_py_attempt_still(struct spy_python *p, struct spy_py_thread *th,
                         struct spy_py_facts *facts);
// All that the options allow; *how is which of it succeeded. note: the first read without a pause
// is counted. Of a core file, which does not change, one read. The codes of spy_python_sample.
int spy_py_attempt(struct spy_python *p, struct spy_py_thread *th, bool running, bool note,
                   const struct spy_py_options *o, struct spy_py_facts *facts,
                   enum spy_py_how *how);
