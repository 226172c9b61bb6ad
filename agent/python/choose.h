// choose.h - which threads are sampled of a process that has more than SPY_PY_THREADS_MAX. Inside
// of agent/python.
//
// Those that ran most lately. Of a thread that is sampled that is known; the others are asked, some
// at each refresh in turn, for what they have run, so that one that begins to work is met within
// seconds and takes the place of one that waits. Of threads that were never asked before, those
// that have used most CPU time come first.
#pragma once
#include "agent/python/thread_states.h"

// Marks the surplus of the n listed states, p->found, as left_out: there are more than
// SPY_PY_THREADS_MAX. Without memory those listed last are.
void spy_py_choose(struct spy_python *p, size_t n);
