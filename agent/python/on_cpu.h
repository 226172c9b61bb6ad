// on_cpu.h - is a thread that is ready to run on a CPU, or does it wait for one? Inside of
// agent/python.
//
// What /proc calls running is on a CPU or in the queue for one. Where CPUs are shared or rationed
// the difference is large: it is asked of agent/target/switches.h, at some 4 us a time. A thread
// that was on a CPU for nearly all of the last 20 ms and hardly waited is taken to be on one
// without being asked.
//
// A sampler that wakes on the CPU of a running thread takes that thread's place: it then waits for
// the sampler alone, and runs as far as its profile is concerned.
#pragma once
#include "agent/python/inside.h"

enum spy_py_cpu {
    SPY_PY_ON_CPU,   // or this system does not tell
    SPY_PY_HELD_UP,  // it was on the CPU that this program has taken: it stands still meanwhile
    SPY_PY_RUNNABLE, // it waits for a CPU, and stands still
};

// Of a thread that is ready to run. 0, or why the system could not be asked just now: then it is
// not known. *ret_slices becomes how often it had been given a CPU, just before it was asked, where
// it stands still: as long as that is so it has not run.
int spy_py_cpu_of(struct spy_py_thread *th, const struct spy_py_options *o, uint64_t *ret_slices,
                  enum spy_py_cpu *ret);
// Does that code say nothing about the thread, because there was no descriptor or memory to ask
// with?
bool spy_py_could_not_ask(int r);

// spy_thread_probe_sched; what it says is noted for spy_py_waits_often.
int spy_py_sched(struct spy_py_thread *th, struct spy_thread_sched *ret);
// Has it lately waited long for a CPU? Then it may do so also where it has not run since it was
// seen asleep.
bool spy_py_waits_often(const struct spy_py_thread *th);
