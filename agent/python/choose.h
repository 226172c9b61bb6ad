// choose.h - which threads are sampled of a process that has more than SPY_PY_THREADS_MAX. Inside
// of agent/python.
//
// The threads that ran most recently. Sampling tells that of the chosen threads. Each refresh asks
// some of the others, in turn, what they have run, so that a thread that begins to work is found
// within seconds and takes a waiting thread's place. Threads that were never asked before come by
// their CPU time, the most first.
#pragma once
#include "agent/python/reader.h"

// Marks the surplus of the n listed states, p->found, as left_out: there are more than
// SPY_PY_THREADS_MAX. Without memory those listed last are.
void spy_py_choose(struct spy_python *p, size_t n);
