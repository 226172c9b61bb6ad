// target.h - one foreign process, as bytes that can be read: a live process, or what a core file
// holds of one (core.h). In a core file nothing changes, no thread runs, and nothing can be paused.
//
// It only reads: nothing is written, and nothing is left behind. All data is hostile. A process
// that ends meanwhile is SPY_ERR_GONE, an address that is not mapped SPY_ERR_TORN, a refusal by the
// kernel SPY_ERR_DENIED: normal results, for the caller to count.
//
// Identity: /proc/PID is opened once, and everything under it is read relative to that descriptor,
// which never names another process even if the pid is reused. process_vm_readv takes the pid, so a
// caller that samples for long first reads something through the descriptor in each round
// (spy_thread_probe_state does), and thereby knows that the process still lives. If /proc belongs
// to another PID namespace, one pid would be two processes: nothing is opened then.
//
// The main thread may end before the others. Then the process's own pid and folder give no memory,
// and everything is read through one of the living threads, which is chosen again when that thread
// has ended, too. Such a read counts only if the thread still belongs to the process afterwards,
// because the number of a thread is reused sooner than that of a process.
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
// would need descriptors of the reserve (descriptors.h). Opens /proc/PID and a pidfd; reads no
// memory.
int spy_target_open(pid_t pid, struct spy_target **ret, struct spy_err *err);
// The target that reads s, which it owns from now on, even if this fails.
int spy_target_of_still(struct spy_still *s, struct spy_target **ret);
void spy_target_free(struct spy_target *t);
struct spy_still *spy_target_still(const struct spy_target *t); // borrowed; NULL: a live process

pid_t spy_target_pid(const struct spy_target *t);
int spy_target_proc_fd(const struct spy_target *t); // of /proc/PID, borrowed
// The path, below that descriptor, of a file that only a thread with memory has: maps, exe, root,
// cmdline. It is `name`, or "task/TID/name" if the main thread has ended. Returns out.
const char *spy_target_file(const struct spy_target *t, const char *name, char *out, size_t size);
// Call it if such a file showed that there is no memory. 0: another thread has memory, so read the
// file again; SPY_ERR_GONE: none has. Reads of memory do this themselves.
int spy_target_find_memory(const struct spy_target *t);
bool spy_target_alive(const struct spy_target *t); // while one of its threads runs
// When it started, in clock ticks since boot: with the pid, its identity. SPY_ERR_GONE;
// SPY_ERR_TORN: the kernel's text cannot be parsed.
int spy_target_start_time(const struct spy_target *t, uint64_t *ret);

// CPU time that all threads of the process have used, in nanoseconds; 0: not known. If it is
// unchanged, no thread has run in between, except that a running thread's time is updated only at
// ticks and when it stops (thread_group_cputime, kernel/sched/cputime.c). It goes by the pid:
// another process that has got the pid has another time.
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
// Reads all spans in one system call (memory.h has the exception), in their order. 0: all were
// read; on failure, *ret_done (may be NULL) is the number of spans that were read whole. n <=
// SPY_SPANS_MAX.
int spy_target_read_spans(const struct spy_target *t, const struct spy_span *spans, size_t n,
                          size_t *ret_done);
// A pointer-sized value. The same codes.
int spy_target_read_u64(const struct spy_target *t, uint64_t addr, uint64_t *ret);

// The error for a process that cannot be read: says what forbids it and what would change that
// (reasons.h). SPY_ERR_DENIED; SPY_ERR_GONE: nothing is left to read.
int spy_target_explain_denied(const struct spy_target *t, struct spy_err *err);
