// attempt.h - how a stack that hangs together is got: by reading while the thread goes on, and when
// that fails, or fails often, with the thread paused. Inside of agent/python.
//
// What was read is in p->scratch, its code objects resolved, and judged by all that stack.h and
// walk.h know; nothing of it is the thread's yet.
#pragma once
#include "agent/python/inside.h"

// Do so many reads of this thread fail that it is to be paused at once? See python.h.
bool spy_py_attempt_wants_pause(const struct spy_py_thread *th, const struct spy_py_options *o);
// Do they, and it is not to be paused? Then those that succeed are judged more strictly.
bool spy_py_attempt_is_hasty(const struct spy_py_thread *th, const struct spy_py_options *o);
// Counts whether a first read without a pause failed: what both answers above go by.
void spy_py_attempt_note(struct spy_py_thread *th, bool torn);

// One read without a pause. SPY_ERR_TORN, SPY_ERR_GONE, SPY_ERR_NOMEM.
int spy_py_attempt_clean(struct spy_python *p, struct spy_py_thread *th,
                         struct spy_py_facts *facts);
// All that the options allow; *how is which of it succeeded. note: the first read without a pause
// is counted. Of a core file, which does not change, one read. The codes of spy_python_sample.
int spy_py_attempt(struct spy_python *p, struct spy_py_thread *th, bool running, bool note,
                   const struct spy_py_options *o, struct spy_py_facts *facts,
                   enum spy_py_how *how);
