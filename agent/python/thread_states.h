// thread_states.h - the thread states of all interpreters of a process, and the system's thread
// that runs each of them. Inside of agent/python.
//
// spy_python_refresh (python.h) is implemented here. It reads the lists, keeps the records of
// states that are still there, and binds the new ones: finds their system thread (bind.h), their
// name and their files in /proc. Past SPY_PY_THREADS_MAX, choose.h says which threads are sampled.
#pragma once
#include "agent/python/reader.h"

// Closes and frees all that is kept of the thread. NULL is fine.
void spy_py_thread_free(struct spy_py_thread *th);
// The thread has ended, or its state is now another's: the next refresh makes a new record even if
// all numbers are the same. Returns SPY_ERR_GONE.
int spy_py_thread_lost(struct spy_python *p, struct spy_py_thread *th);
