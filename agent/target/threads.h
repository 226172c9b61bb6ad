// threads.h - the operating system's threads of a target, and what they are doing now.
#pragma once
#include "agent/target/thread_files.h"

// What /proc/PID/task/TID/syscall says (proc(5)): "running", or the number and arguments of the
// system call that the thread waits in. If the kernel has no such file or refuses to let it be
// read, the state letter of .../stat is used.
struct spy_thread_state {
    bool running;
    int64_t syscall;  // -1: none or not known
    uint64_t args[6]; // valid when syscall >= 0
};

// What /proc/PID/task/TID/schedstat says (Documentation/scheduler/sched-stats.rst).
struct spy_thread_sched {
    uint64_t on_cpu_ns, waited_ns; // for a CPU
    uint64_t slices;               // how often it was given a CPU
};

// A thread that is asked repeatedly. Its address must not change from init to done.
struct spy_thread_probe {
    struct spy_thread_files files;
    bool is_stat; // there is no syscall file to read
};

// tid is in the numbering of our /proc. Opens nothing yet.
void spy_thread_probe_init(struct spy_thread_probe *p, const struct spy_target *t, pid_t tid);
void spy_thread_probe_done(struct spy_thread_probe *p); // may be called again
// The codes of spy_thread_files_read: only SPY_ERR_GONE says that the thread has ended, and no code
// says that it runs. A main thread that has ended is SPY_ERR_GONE even while others run.
int spy_thread_probe_state(struct spy_thread_probe *p, struct spy_thread_state *ret);
// The CPU that it runs on, or last ran on (stat, field 39).
int spy_thread_probe_cpu(struct spy_thread_probe *p, int *ret);
int spy_thread_probe_sched(struct spy_thread_probe *p, struct spy_thread_sched *ret);

// A thread by its number in our PID namespace and in its own (what Python's
// threading.get_native_id() returns there): NSpid in /proc/PID/task/TID/status, proc(5).
struct spy_tid {
    pid_t tid, ns_tid;
};
enum { SPY_TIDS_MAX = 65536 }; // most threads that are listed
// All threads now, by rising ns_tid. *ret is an array to free(); SPY_ERR_GONE, SPY_ERR_NOMEM,
// SPY_ERR_LIMIT (no free descriptor).
int spy_threads_list(const struct spy_target *t, struct spy_tid **ret, size_t *ret_n);
// The same for a caller that has such a list, which is replaced; numbers of threads that are still
// there are taken from it. On failure it stays as it was.
int spy_threads_update(const struct spy_target *t, struct spy_tid **list, size_t *n);
// The thread of that number in such a list, or NULL.
const struct spy_tid *spy_threads_find(const struct spy_tid *list, size_t n, pid_t ns_tid);

// Reads a small file that is empty if a process has no memory: cmdline. If the main thread has
// ended, reads that of another thread. dir is an open folder /proc/PID. Otherwise like
// spy_file_read_small (shared/base/file.h).
ssize_t spy_threads_read_file(int dir, const char *name, char *out, size_t size);
