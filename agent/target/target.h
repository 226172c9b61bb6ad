// target.h - one foreign process, as bytes that can be read: a live process, or what a core file
// holds of one (core.h). In a core file nothing changes, no thread runs, and nothing can be paused.
//
// A spy_target only reads: it writes nothing and leaves nothing behind. All data is hostile. Three
// results are normal, and the caller counts them: SPY_ERR_GONE, the process has ended;
// SPY_ERR_TORN, the address is not mapped; SPY_ERR_DENIED, the kernel refuses.
//
// Identity: the descriptor of /proc/PID stays open, and all files of the process are opened
// relative to it; it never names another process, even if the pid is reused. process_vm_readv takes
// the pid, so a caller that samples for long reads a file through the descriptor first in each
// round (spy_thread_probe_state does), and so knows that the process lives. If /proc belongs to
// another PID namespace, a pid would name two processes: spy_target_open fails then.
//
// The main thread may end before the others. Then the pid and its folder give no memory, and reads
// go through a living thread; when that has ended too, through the next. Such a read counts only if
// the thread still belongs to the process afterwards, because thread ids are reused sooner than
// pids.
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

// Opens /proc/PID and a pidfd; reads no memory. SPY_ERR_GONE; SPY_ERR_DENIED: /proc does not show
// the process (reasons.h says why); SPY_ERR_LIMIT: only the reserve of descriptors is left
// (descriptors.h).
int spy_target_open(pid_t pid, struct spy_target **ret, struct spy_err *err);
// A target that reads the still s. It owns s from now on, even if this fails.
int spy_target_of_still(struct spy_still *s, struct spy_target **ret);
void spy_target_free(struct spy_target *t);
struct spy_still *spy_target_still(const struct spy_target *t); // borrowed; NULL: a live process

pid_t spy_target_pid(const struct spy_target *t);
int spy_target_proc_fd(const struct spy_target *t); // of /proc/PID, borrowed
// The path, relative to that descriptor, of a file that only a thread with memory has: maps, exe,
// root, cmdline. The path is `name`, or "task/TID/name" if the main thread has ended. Returns out.
const char *spy_target_file(const struct spy_target *t, const char *name, char *out, size_t size);
// To be called if such a file showed no memory. 0: another thread has memory, so read the file
// again; SPY_ERR_GONE: no thread has. Reads of memory call it themselves.
int spy_target_find_memory(const struct spy_target *t);
bool spy_target_alive(const struct spy_target *t); // while one of its threads runs
// When it started, in clock ticks since boot: with the pid, its identity. SPY_ERR_GONE;
// SPY_ERR_TORN: the kernel's text cannot be parsed.
int spy_target_start_time(const struct spy_target *t, uint64_t *ret);

// CPU time that all threads of the process have used, in nanoseconds; 0: not known. While it does
// not change, no thread has run, except that the kernel updates the time of a running thread only
// at ticks and when it stops (thread_group_cputime, kernel/sched/cputime.c). The kernel finds the
// process by its pid: another process that has got the pid has another time.
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
