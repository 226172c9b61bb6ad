// bind.h - the system's thread behind each thread state. Inside of agent/python.
#pragma once
#include "agent/python/reader.h"

// Fills tid and ns_tid of the n listed states, p->found. Those that stay without, though they have
// an ident, may get one later: p->unbound. Reads the folder of the process's threads.
void spy_py_bind(struct spy_python *p, size_t n);
// Finds the states that share a thread: one of a subinterpreter runs on top of the frames of
// whoever called it. Of those of one thread, the one of the newest interpreter comes last.
void spy_py_bind_shared(struct spy_python *p);
