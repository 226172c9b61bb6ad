// kernel.h - what the kernel counts for one process between two moments. Inside of agent/sampler.
//
// CPU time is read from the process's clock, which includes threads that have ended. Time spent
// waiting for a CPU is kept per thread (schedstat, Documentation/scheduler/sched-stats.rst) and is
// lost with the thread. So the growth of all threads is added up at a window's edges, and every few
// seconds in between while something runs. If threads that ended in between did more than a tenth
// of the work, the sum is not known, because it would be too small.
//
// Files are opened, read and closed; none stays open. The waiting time of a process with more than
// SPY_KERNEL_THREADS_MAX threads is not known.
#pragma once
#include "agent/sampler/limits.h"
#include "agent/target/target.h"
#include "shared/profile/account.h"

enum { SPY_KERNEL_THREADS_MAX = 1024 };

struct spy_kernel;

struct spy_kernel *spy_kernel_new(void); // NULL: no memory; everything below accepts NULL
void spy_kernel_free(struct spy_kernel *k);
// Begins to count the process. `limits` is borrowed.
void spy_kernel_begin(struct spy_kernel *k, const struct spy_target *t, struct spy_limits *limits,
                      uint64_t now_ns);
void spy_kernel_forget(struct spy_kernel *k); // the process has changed or is gone
bool spy_kernel_has_begun(const struct spy_kernel *k);
// Call it in between: what has been counted by now cannot be lost. Mostly a comparison. few: there
// are so few processes that polling often is cheap.
void spy_kernel_poll(struct spy_kernel *k, const struct spy_target *t, uint64_t now_ns, bool few);
// Returns what was counted since it began, for a window of `of_ns`, and begins again. A process
// that has just ended still has its CPU time up to the last poll.
void spy_kernel_take(struct spy_kernel *k, const struct spy_target *t, struct spy_limits *limits,
                     uint64_t now_ns, uint64_t of_ns, struct spy_account *ret);

// Parses the two sums of a schedstat, in ns. False: not a schedstat.
bool spy_kernel_schedstat(const char *text, uint64_t *ret_cpu, uint64_t *ret_delay);
