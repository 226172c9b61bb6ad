// on_cpu.h - whether a thread that is ready to run is on a CPU or waits for one. Inside of
// agent/python.
//
// What /proc calls running is on a CPU or in the queue for one. Where CPUs are shared or limited
// the difference is large. It costs some 4 us to ask (agent/target/switches.h), so a thread that
// was on a CPU for nearly all of the last 20 ms and hardly waited is assumed to be on one.
//
// A sampler that wakes up on the CPU of a running thread takes that thread's place. The thread then
// waits for the sampler alone, and counts as running.
#pragma once
#include "agent/python/reader.h"

enum spy_py_cpu {
    SPY_PY_ON_CPU,   // or this system does not say
    SPY_PY_HELD_UP,  // it was on the CPU that this program has taken: it stands still meanwhile
    SPY_PY_RUNNABLE, // it waits for a CPU, and stands still
};

// For a thread that is ready to run. 0, or why the system could not be asked just now. If the
// thread stands still, *ret_slices becomes how often it had been given a CPU, read just before: as
// long as that number is the same, it has not run.
int spy_py_cpu_of(struct spy_py_thread *th, const struct spy_py_options *o, uint64_t *ret_slices,
                  enum spy_py_cpu *ret);
// True if that code says nothing about the thread: there was no descriptor or memory to ask with.
bool spy_py_could_not_ask(int r);

// spy_thread_probe_sched, noted for spy_py_waits_often.
int spy_py_sched(struct spy_py_thread *th, struct spy_thread_sched *ret);
// True if the thread has lately waited long for a CPU. Then it may wait for one even if it has not
// run since it was seen asleep.
bool spy_py_waits_often(const struct spy_py_thread *th);
