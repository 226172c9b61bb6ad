// attempt.h - how the stack of one thread is read: while the thread runs, and, if that fails or
// often fails, with the thread paused. Inside of agent/python.
//
// What was read is in p->scratch, resolved and validated (stack.h, unwind.h). It is not the
// thread's last stack yet.
#pragma once
#include "agent/python/reader.h"

enum { SPY_PY_TRIAL = 32 }; // reads of a running thread after which it is known how often they fail

// True if reads of this thread without a pause fail more often than 1 in SPY_PY_TORN_ONE_IN.
bool spy_py_attempt_is_torn_often(const struct spy_py_thread *th);
// True if the thread is to be paused at once: because they do, because too few of them were made to
// know and a popped frame keeps its code, or because every thread is paused.
bool spy_py_attempt_wants_pause(const struct spy_python *p, const struct spy_py_thread *th,
                                const struct spy_py_options *o);
// True if the thread may not be paused and they do, or too few of them were made to know: reads are
// validated more strictly then.
bool spy_py_attempt_is_strict(const struct spy_py_thread *th, const struct spy_py_options *o);
// True if, besides, one valid read proves nothing. Where a popped frame keeps its code, a program
// of short calls may call another function and return between two copies: up to 3.10, where a read
// of frames far apart takes some 8 us, 1 in 100 valid reads was of no instant, and 1 in 1000 on
// 3.12. There even whole stacks come from salvage.h.
bool spy_py_attempt_needs_repeats(const struct spy_python *p, const struct spy_py_thread *th,
                                  const struct spy_py_options *o);
// Counts whether a first read without a pause failed; the answers above depend on it. moved: the
// thread moved on during the read, which proves that it ran. Where no thread is paused, 16 valid
// reads of a thread that did not move count as one read of the trial: it may have lost its CPU.
void spy_py_attempt_count(struct spy_py_thread *th, const struct spy_py_options *o, bool torn,
                          bool moved);

// One read without a pause. SPY_ERR_TORN, SPY_ERR_GONE, SPY_ERR_NOMEM.
int spy_py_attempt_clean(struct spy_python *p, struct spy_py_thread *th,
                         struct spy_py_facts *facts);
// One read of a thread that stands still; the caller knows that, or checks it afterwards. The same
// codes.
int spy_py_attempt_still(struct spy_python *p, struct spy_py_thread *th,
                         struct spy_py_facts *facts);
// Tries all that the options allow; *how says what succeeded. note: count the first read without a
// pause. A core file, which does not change, is read once. The codes of spy_python_sample.
int spy_py_attempt(struct spy_python *p, struct spy_py_thread *th, bool running, bool note,
                   const struct spy_py_options *o, struct spy_py_facts *facts,
                   enum spy_py_how *how);
