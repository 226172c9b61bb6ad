// native_threads.h - the threads of a process that Python does not know, such as the pool of a
// library: their list, and the native stack of each. Inside of agent/sampler and of dump.
//
// The system's list of threads is noted first, and settled later by Python's: what Python still
// does not know then is listed. In between Python's list must have been read (spy_python_refresh
// does so at least every quarter of a second), since a thread that Python starts is for a moment
// known to the system alone. While Python has threads that it cannot place (some are left out, or
// have no number yet), nothing is listed: any thread may be one of those.
//
// Threads: like the spy_python whose process it is.
#pragma once
#include "agent/sampler/intern.h"
#include "agent/sampler/mixed.h"

#define SPY_NATIVE_THREADS_AGE_NS UINT64_C(1000000000)
enum { SPY_NATIVE_THREADS_MAX = 1024 }; // of one process; the others are left out

struct spy_native_threads; // NULL: none, of all functions that list or ask

struct spy_native_thread {
    pid_t tid;     // in our numbering
    char name[64]; // as the system has it (comm), may be ""
    // When last looked at: on a CPU, or ready to run if the system cannot tell; or waiting for one.
    bool running, runnable;
    // The caller's, zero at first. has_stack is cleared once the thread has run.
    uint32_t epoch, thread, stack;
    bool has_stack;
};

// Notes the system's list. Make it before Python's list is read. The target is borrowed and must
// outlive it. NULL: no memory.
struct spy_native_threads *spy_native_threads_new(const struct spy_target *t);
void spy_native_threads_free(struct spy_native_threads *l);

// Lists what was noted and is not known to Python.
void spy_native_threads_settle(struct spy_native_threads *l, struct spy_python *python);
// That, and notes the system's list again, at first and once in SPY_NATIVE_THREADS_AGE_NS. Call it
// in each round, after spy_python_refresh: what Python knows meanwhile is SPY_ERR_GONE below.
void spy_native_threads_refresh(struct spy_native_threads *l, struct spy_python *python,
                                uint64_t now);
// By rising tid, with some that do not count (yet): spy_native_threads_look says which. Valid until
// the next of the calls above.
size_t spy_native_threads_n(const struct spy_native_threads *l);
struct spy_native_thread *spy_native_threads_at(struct spy_native_threads *l, size_t i);

// True if the list is the same as when its threads were looked at, and none has run since.
bool spy_native_threads_are_quiet(struct spy_native_threads *l);
// What thread i does now. self: NULL: a thread whose CPU the caller has taken is runnable.
// SPY_ERR_GONE: it has ended, is not settled, or Python knows it. Another code: that is not known.
int spy_native_threads_look(struct spy_native_threads *l, size_t i, struct spy_own_switches *self);

// The native frames of thread i, which is held for that. How a thread begins is not shown, so that
// there may be no frame. Returns their number, or the codes of spy_pause_begin and spy_mixed_merge;
// SPY_ERR_TORN: it runs Python code.
int spy_native_threads_stack(struct spy_native_threads *l, size_t i, struct spy_mixed *mixed,
                             struct spy_pause *pause, const struct spy_mixed_frame **ret);

// A sample of thread i for the profile of `in`. all: of a thread that does not run, too. A stack that
// is not whole, or whose thread cannot be held, is given without frames. The codes of look; GONE is
// also: not wanted; SPY_ERR_TORN: it runs Python code; those of profile.h.
struct spy_native_sample {
    uint32_t stack, thread, state; // enum spy_state bits
    bool is_wanted;                // with native frames
    int unmerged;                  // why they could not be had: a code of spy_native_threads_stack
};
int spy_native_threads_sample(struct spy_native_threads *l, size_t i, const struct spy_intern *in,
                              struct spy_mixed *mixed, struct spy_pause *pause,
                              struct spy_own_switches *self, bool all,
                              struct spy_native_sample *ret);
