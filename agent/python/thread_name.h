// thread_name.h - the name that the program gave to a thread. Inside of agent/python.
//
// A thread that threading made runs everything from Thread._bootstrap(self), so the Thread object,
// which has the name, is the first local variable of its outermost frame. That holds in every
// version, needs no search, and costs some ten small reads. Other threads, and any thread where
// something does not look as it should, get the name that the system knows (comm); the main thread
// gets "MainThread".
#pragma once
#include "agent/python/reader.h"

#define SPY_PY_NAME_AGAIN_NS 1000000000 // programs rename threads

// Takes the name that the system knows until the program's is found.
void spy_py_thread_name_by_system(const struct spy_python *p, struct spy_py_thread *th);
// Looks up the program's name once the stack of th was read. now: spy_clock_mono_ns.
void spy_py_thread_find_name(struct spy_python *p, struct spy_py_thread *th, uint64_t now);
// Looks up names again that were looked up long ago, of some threads at a time. Part of a refresh.
void spy_py_thread_find_names(struct spy_python *p, uint64_t now);
