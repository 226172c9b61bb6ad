// target.h - one foreign process, as bytes that can be read: a live one, or what is left of one in
// a core file (core.h). Of the latter nothing changes, no thread runs, and nothing can be paused.
//
// Reads only: nothing is written, nothing stays behind. All that comes back is hostile. A process
// that ends while it is looked at is SPY_ERR_GONE, an address that is not mapped SPY_ERR_TORN, a
// kernel that forbids it SPY_ERR_DENIED: normal results, for the caller to count.
//
// Identity: /proc/PID is opened once and everything under it is read relative to that descriptor,
// which never names another process even when the PID is used again; process_vm_readv takes the
// number, so a caller that samples for long reads something through the descriptor first in each
// round (spy_thread_state does) and thereby knows that the process still lives. Where /proc is that
// of another PID namespace, the same number would be two processes: nothing is opened there.
//
// The main thread may end before the others. Then the process's own number and folder give no
// memory any more, and all is read through one of the threads that live; which, is chosen again
// whenever that one has ended too. Such a read is believed only when the thread is still one of the
// process afterwards, since the number of a thread is used again sooner than that of a process.
//
// Threads: a spy_target belongs to one thread at a time.
#pragma once
#include "shared/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct spy_target;
struct spy_still; // still.h

// SPY_ERR_GONE; SPY_ERR_DENIED: /proc does not show it (reasons.h says why); SPY_ERR_LIMIT: it
// would take descriptors of the reserve (descriptors.h). Opens /proc/PID and a pidfd; reads no
// memory.
int spy_target_open(pid_t pid, struct spy_target **ret, struct spy_err *err);
// The target that reads s, which it owns from now on, even if this fails.
int spy_target_of_still(struct spy_still *s, struct spy_target **ret);
void spy_target_free(struct spy_target *t);
struct spy_still *spy_target_still(const struct spy_target *t); // borrowed; NULL: a live process

pid_t spy_target_pid(const struct spy_target *t);
int spy_target_proc_fd(const struct spy_target *t); // of /proc/PID, borrowed
// Where a file of the process stands below that descriptor that only a thread with memory has:
// maps, exe, root, cmdline. It is `name`, or "task/TID/name" where the main thread has ended.
// Returns out.
const char *spy_target_file(const struct spy_target *t, const char *name, char *out, size_t size);
// To be called when such a file said that there is no memory. 0: another thread has some, look
// again; SPY_ERR_GONE: none has. A read of memory does so by itself.
int spy_target_find_memory(const struct spy_target *t);
bool spy_target_alive(const struct spy_target *t); // while one of its threads runs
// When it began, in clock ticks since boot: with the number, its identity. SPY_ERR_GONE,
// SPY_ERR_TORN (the kernel's text makes no sense).
int spy_target_start_time(const struct spy_target *t, uint64_t *ret);

// CPU time that all threads of the process have used, in nanoseconds; 0: not known. Equal to what
// it was: nothing of it has run in between, but for a thread that runs just now: the kernel brings
// that up to date at ticks and when it stops (thread_group_cputime, kernel/sched/cputime.c). By the
// number: another process that has got it has another time.
uint64_t spy_target_cpu_ns(const struct spy_target *t);
bool spy_target_is_live(const struct spy_target *t); // false: a core file; both descriptors are -1

// A piece of remote memory and where it goes here.
struct spy_span {
    uint64_t addr;
    void *to;
    size_t len;
};
enum { SPY_SPANS_MAX = 1024 }; // what one call takes (UIO_MAXIOV)

// Reads exactly len bytes at addr.
int spy_target_read(const struct spy_target *t, uint64_t addr, void *to, size_t len);
// Reads all spans in one system call (memory.h tells when not), in their order. All or
// SPY_ERR_TORN; on failure *ret_done (may be NULL) is the number of spans that were read whole. n
// <= SPY_SPANS_MAX.
int spy_target_read_spans(const struct spy_target *t, const struct spy_span *spans, size_t n,
                          size_t *ret_done);
// A pointer-sized value. The same codes.
int spy_target_read_u64(const struct spy_target *t, uint64_t addr, uint64_t *ret);

// The error for a process that cannot be read: says what forbids it and what changes that, see
// reasons.h. SPY_ERR_DENIED, or SPY_ERR_GONE where there is nothing to read any more.
int spy_target_explain_denied(const struct spy_target *t, struct spy_err *err);
