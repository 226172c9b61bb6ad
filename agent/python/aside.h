// aside.h - a thread that runs, read while this program has its CPU. Inside of agent/python.
//
// Two threads do not run on one CPU at once. A sampler that wakes up on the CPU of a running thread
// pushes it aside: until the sampler sleeps again, or the kernel moves the thread elsewhere, the
// thread stands as still as a paused thread, without a stop to ask for and wait for. This costs a
// third of a pause, and the thread less than half of the time.
//
// The proof: the count of times that it was given a CPU (schedstat), then the CPU that it is on or
// was on last (stat), which is ours, then the read, then the same count. When stat was written this
// program ran on that CPU, so the thread did not; if it had run since, the count would have grown.
//
// Used for threads whose reads fail often otherwise; the program that samples has to be on the
// right CPU, see struct spy_py_options. To be on another CPU now and then shows when the reads work
// again without all that.
#pragma once
#include "agent/python/inside.h"

// Is the thread to be read like this?
bool spy_py_aside_wanted(const struct spy_py_thread *th, const struct spy_py_options *o);

// Of a thread that is ready to run, and wanted. SPY_ERR_TORN: it does not stand aside, or not long
// enough; else as spy_py_attempt_still. Notes what to wish for.
int spy_py_aside_read(struct spy_python *p, struct spy_py_thread *th,
                      const struct spy_py_options *o, struct spy_py_facts *facts);
