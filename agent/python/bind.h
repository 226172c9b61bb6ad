// bind.h - finds the system's thread of each thread state. Inside of agent/python.
#pragma once
#include "agent/python/reader.h"

// Fills tid and ns_tid of the n listed states, p->found. Sets p->unbound if a state with an ident
// has no thread yet: it may get one later. Reads the folder of the process's threads.
void spy_py_bind(struct spy_python *p, size_t n);
// Finds states that share a thread: a state of a subinterpreter runs on top of the frames of its
// caller. Among the states of one thread, that of the newest interpreter comes last.
void spy_py_bind_shared(struct spy_python *p);
