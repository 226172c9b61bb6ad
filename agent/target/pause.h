// pause.h - one thread of a target held still for some tens of microseconds.
//
// PTRACE_SEIZE, PTRACE_INTERRUPT, wait, ... PTRACE_DETACH (ptrace(2)). Nothing is sent to the
// target that it could see: no SIGSTOP, no change of its registers. If this program is killed in
// between, the kernel detaches and the thread runs on: a seized tracee is not killed or left
// stopped with its tracer.
//
// A thread that runs stops within some microseconds: it is looked at a few times, and then waited
// for asleep, since the kernel wakes a tracer up at once, and whoever asks again and again burns a
// CPU for as long as the thread waits for one. A timer of this thread's own, which sends it
// SIGRTMAX, ends the wait of a thread that does not stop: that signal's handler belongs to this
// file.
//
// A thread that does not stop within SPY_PAUSE_WAIT_NS (it sleeps in the kernel, uninterruptibly)
// is left to a list of strays, which spy_pause_reap lets go as soon as they stop; call it once a
// round. A thread that is killed while it is held joins that
// list too: its process cannot end before podspy has waited for it.
//
// No thread stays seized from one pause to the next, though that would save two system calls: see
// docs/adr/0012-pushed-aside-rather-than-paused.md.
//
// Threads: all calls from the thread that paused (a rule of ptrace).
#pragma once
#include "shared/base/err.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

// Waiting for threads that do not stop delays all other targets. Once SPY_PAUSE_VAIN_NS of a second
// went into that, none is waited for longer than SPY_PAUSE_LEAST_NS, some times what it takes one
// that runs.
enum {
    SPY_PAUSE_WAIT_NS = 2000000,
    SPY_PAUSE_LEAST_NS = 200000,
    SPY_PAUSE_VAIN_NS = 50000000,
    SPY_PAUSE_STRAYS_MAX = 64,
};

// Zeroed at first.
struct spy_pause {
    pid_t strays[SPY_PAUSE_STRAYS_MAX];
    size_t n_strays;
    uint64_t second, vain_ns; // start of the running second; what was waited in vain in it
    timer_t timer;
    enum { SPY_PAUSE_UNTRIED, SPY_PAUSE_TIMED, SPY_PAUSE_UNTIMED } timing;
};

// Stops tid. SPY_ERR_GONE; SPY_ERR_DENIED (another tracer holds it, or no permission: go on without
// pausing); SPY_ERR_AGAIN (it did not stop in time, or too many strays).
// On 0, *ret_signal is a signal that was on its way to the thread, to be given to spy_pause_end.
int spy_pause_begin(struct spy_pause *p, pid_t tid, int *ret_signal);
void spy_pause_end(struct spy_pause *p, pid_t tid, int signal);
void spy_pause_reap(struct spy_pause *p);
// Frees the timer, and gives strays up to a second to stop. A stray that takes longer (it sleeps
// uninterruptibly) stays stopped until this thread ends or spy_pause_reap_late is called.
void spy_pause_done(struct spy_pause *p);
// Lets go whatever this process has seized and that has stopped or ended, whoever seized it: for a
// program that lives on after it has sampled. It takes stops of its children from waitpid, too, but
// not their ends.
void spy_pause_reap_late(void);
