// choose.h - chooses the threads to sample in a process that has more than SPY_PY_THREADS_MAX.
// Inside of agent/python.
//
// The threads that ran most recently are chosen. Sampling shows that of the chosen threads. Each
// refresh asks some of the others, in turn, how much they have run, so that a thread that begins to
// work is found within seconds and takes the place of a waiting thread. Threads that were never
// asked before are ordered by their CPU time, the most first.
#pragma once
#include "agent/python/reader.h"

// Marks the surplus of the n listed states in p->found as left_out; n is more than
// SPY_PY_THREADS_MAX. Without memory, marks the states listed last.
void spy_py_choose(struct spy_python *p, size_t n);
