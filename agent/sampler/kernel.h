// kernel.h - what the kernel counts of one process between two moments. Inside of agent/sampler.
//
// CPU time is the process's own clock, which keeps that of threads that have ended. Waiting for a
// CPU is kept for each thread alone (schedstat, Documentation/scheduler/sched-stats.rst) and goes
// with it, so the threads' growth is added up: at a window's edges, and every few seconds in
// between while something runs. Where threads that ended in between did more than a tenth of the
// work, the sum is not known: it would be too small.
//
// Files are opened, read and closed; none stays open. Of a process with more than
// SPY_KERNEL_THREADS_MAX threads waiting is not known.
#pragma once
#include "agent/sampler/limits.h"
#include "agent/target/target.h"
#include "shared/profile/account.h"

enum { SPY_KERNEL_THREADS_MAX = 1024 };

struct spy_kernel;

struct spy_kernel *spy_kernel_new(void); // NULL: no memory; all below then do nothing
void spy_kernel_free(struct spy_kernel *k);
// Begins to count the process, from now on. `limits` is borrowed.
void spy_kernel_begin(struct spy_kernel *k, const struct spy_target *t, struct spy_limits *limits,
                      uint64_t now_ns);
void spy_kernel_forget(struct spy_kernel *k); // the process is another now, or gone
bool spy_kernel_has_begun(const struct spy_kernel *k);
// In between: what is seen now cannot be lost. Mostly a comparison; few: of the few processes that
// there are, so that looking often costs little.
void spy_kernel_look(struct spy_kernel *k, const struct spy_target *t, uint64_t now_ns, bool few);
// What was counted since it began, as of a window of `of_ns`, and begins again. A process that has
// ended lately still has its CPU time up to the latest look.
void spy_kernel_take(struct spy_kernel *k, const struct spy_target *t, struct spy_limits *limits,
                     uint64_t now_ns, uint64_t of_ns, struct spy_account *ret);

// The two sums of a schedstat, in ns. False: it makes no sense.
bool spy_kernel_schedstat(const char *text, uint64_t *ret_cpu, uint64_t *ret_delay);
