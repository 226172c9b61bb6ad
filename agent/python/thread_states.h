// thread_states.h - the thread states of all interpreters of a process, and the system's thread
// that each is run by. Inside of agent/python.
//
// spy_python_refresh (python.h) is done here: it reads the lists, keeps what is known of the states
// that are still there, and binds the new ones: names them, opens what /proc says of their threads.
// bind.h finds the system's threads; where there are more than SPY_PY_THREADS_MAX, choose.h says
// which are sampled.
#pragma once
#include "agent/python/inside.h"

// One thread state as it was listed.
struct spy_py_found {
    uint64_t tstate, interp, next, ident, native;
    pid_t ns_tid, tid;           // 0: not known (yet)
    struct spy_py_thread *known; // NULL: it is not among those that are sampled
    bool left_out;
    // For a thread that was left out: what it had run when it was last asked, and the refresh that
    // found it or saw it run.
    uint64_t slices, cpu_ns, ran;
};

// Closes and frees all that is kept of it; NULL is nothing.
void spy_py_thread_free(struct spy_py_thread *th);
