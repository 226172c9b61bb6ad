// aside.h - reads a running thread while this program has its CPU. Inside of agent/python.
//
// Two threads cannot run on one CPU at once. A sampler that wakes up on the CPU of a running thread
// pushes it aside: until the sampler sleeps again, or the kernel moves the thread to another CPU,
// the thread stands as still as a paused one, and no stop must be asked for and awaited. This costs
// the sampler a third of a pause, and the thread less than half.
//
// The proof is read in this order: how often the thread was given a CPU (schedstat), the CPU that
// it is on or was last on (stat), which is ours, its stack, and the first count again. When stat
// was read this program ran on that CPU, so the thread did not; had it run since, the count would
// have grown.
//
// Used for threads whose reads often fail otherwise; the sampling program must be on the right CPU,
// see struct spy_py_options. Now and then it samples from another CPU, to learn when reads work
// without this.
#pragma once
#include "agent/python/reader.h"

// True if the thread is to be read this way.
bool spy_py_aside_wanted(const struct spy_py_thread *th, const struct spy_py_options *o);

// Reads a thread that is ready to run and wanted, and notes what to wish for. SPY_ERR_TORN: it was
// not pushed aside, or not long enough; else the codes of spy_py_attempt_still.
int spy_py_aside_read(struct spy_python *p, struct spy_py_thread *th,
                      const struct spy_py_options *o, struct spy_py_facts *facts);
