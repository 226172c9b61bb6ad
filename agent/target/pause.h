// pause.h - holds one thread of a target still for some tens of microseconds.
//
// PTRACE_SEIZE, PTRACE_INTERRUPT, wait, ... PTRACE_DETACH (ptrace(2)). The target sees nothing of
// it: no SIGSTOP, no change of its registers. If this program is killed in between, the kernel
// detaches and the thread continues: a seized tracee is neither killed nor left stopped with its
// tracer.
//
// A running thread stops within some microseconds. It is polled a few times and then waited for
// asleep: the kernel wakes a tracer at once, and polling would burn a CPU for as long as the thread
// waits for one. A timer of the calling thread, which sends it SIGRTMAX, ends the wait for a thread
// that does not stop; the handler of that signal belongs to this file.
//
// A thread that does not stop within SPY_PAUSE_WAIT_NS (it sleeps uninterruptibly in the kernel)
// becomes a stray, which spy_pause_reap releases once it has stopped; call that once a round. A
// thread that is killed while it is held becomes a stray, too: its process cannot end before podspy
// has waited for it.
//
// No thread stays seized between two pauses, though that would save two system calls: see
// docs/adr/0012-pushed-aside-rather-than-paused.md.
//
// Threads: all calls from the thread that paused (a rule of ptrace).
#pragma once
#include "shared/base/err.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

// Whether threads are paused to be read: never; when a read without a pause fails, and at once if
// that happens often; for every read.
enum spy_pausing { SPY_PAUSE_NEVER, SPY_PAUSE_AUTO, SPY_PAUSE_ALWAYS };

// Waiting for threads that do not stop delays all other targets. Once SPY_PAUSE_VAIN_NS of a second
// were spent on that, no thread is waited for longer than SPY_PAUSE_LEAST_NS, a multiple of what a
// running thread takes.
enum {
    SPY_PAUSE_WAIT_NS = 2000000,
    SPY_PAUSE_LEAST_NS = 200000,
    SPY_PAUSE_VAIN_NS = 50000000,
    SPY_PAUSE_STRAYS_MAX = 64,
};

// Zeroed by the caller.
struct spy_pause {
    uint64_t
        patience_ns; // instead of SPY_PAUSE_WAIT_NS, for few targets: a thread that waits for a
                     // CPU stops only once it has one. 0: not instead
    pid_t strays[SPY_PAUSE_STRAYS_MAX];
    size_t n_strays;
    uint64_t second, vain_ns; // start of the current second; time waited in vain in it
    timer_t timer;
    enum { SPY_PAUSE_UNTRIED, SPY_PAUSE_TIMED, SPY_PAUSE_UNTIMED } timing;
};

// Stops tid. SPY_ERR_GONE; SPY_ERR_DENIED: another process traces it, or that is not permitted, so
// continue without pauses; SPY_ERR_AGAIN: it did not stop in time, or there are too many strays. On
// 0, *ret_signal is a signal that was on its way to the thread, for spy_pause_end to deliver.
int spy_pause_begin(struct spy_pause *p, pid_t tid, int *ret_signal);
void spy_pause_end(struct spy_pause *p, pid_t tid, int signal);
void spy_pause_reap(struct spy_pause *p);
// Frees the timer and gives strays up to a second to stop. A stray that takes longer (it sleeps
// uninterruptibly) stays stopped until this thread ends or spy_pause_reap_late is called.
void spy_pause_done(struct spy_pause *p);
// Releases every thread that this process has seized and that has stopped or ended, whichever
// thread seized it: for a program that lives on after it has sampled. It takes stops of this
// program's children from waitpid as well, but not their ends.
void spy_pause_reap_late(void);
