// thread_name.h - the name that the program gave to a thread. Inside of agent/python.
//
// A thread that threading made runs everything from Thread._bootstrap(self), so the object that has
// the name is the first local variable of its outermost frame. That holds in every version, needs
// no search, and costs some ten small reads. Other threads, and all where anything does not look as
// it should, have the name that the system knows (comm), and the main thread "MainThread".
#pragma once
#include "agent/python/inside.h"

#define SPY_PY_NAME_AGAIN_NS 1000000000 // a program may rename its threads

// Looks for the name once the stack of th was read. now: spy_clock_mono_ns.
void spy_py_thread_find_name(struct spy_python *p, struct spy_py_thread *th, uint64_t now);
// Looks again for names that were found long ago, of some threads at a time. In a refresh.
void spy_py_thread_find_names(struct spy_python *p, uint64_t now);
