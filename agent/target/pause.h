// pause.h - one thread of a target held still for some tens of microseconds.
//
// PTRACE_SEIZE, PTRACE_INTERRUPT, wait, ... PTRACE_DETACH (ptrace(2)). Nothing is sent to the
// target that it could see: no SIGSTOP, no change of its registers. If this program is killed in
// between, the kernel detaches and the thread runs on: a seized tracee is not killed or left
// stopped with its tracer.
//
// A thread that does not stop within SPY_PAUSE_WAIT_NS (it sleeps in the kernel, uninterruptibly)
// is left to a list of strays, which spy_pause_reap lets go as soon as they stop; call it once a
// round.
//
// Threads: all calls from the thread that paused (a rule of ptrace).
#pragma once
#include "shared/base/err.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Waiting for threads that do not stop delays all other targets. Once SPY_PAUSE_VAIN_NS of a second
// went into that, none is waited for longer than SPY_PAUSE_LEAST_NS, some times what it takes one
// that runs.
enum {
    SPY_PAUSE_WAIT_NS = 2000000,
    SPY_PAUSE_LEAST_NS = 200000,
    SPY_PAUSE_VAIN_NS = 50000000,
    SPY_PAUSE_STRAYS_MAX = 64,
};

struct spy_pause {
    pid_t strays[SPY_PAUSE_STRAYS_MAX];
    size_t n_strays;
    uint64_t second, vain_ns; // start of the running second; what was waited in vain in it
};

// Stops tid. SPY_ERR_GONE; SPY_ERR_DENIED (another tracer holds it, or no permission: go on without
// pausing); SPY_ERR_AGAIN (it did not stop in time, or too many strays).
// On 0, *ret_signal is a signal that was on its way to the thread, to be given to spy_pause_end.
int spy_pause_begin(struct spy_pause *p, pid_t tid, int *ret_signal);
void spy_pause_end(pid_t tid, int signal);
void spy_pause_reap(struct spy_pause *p);
