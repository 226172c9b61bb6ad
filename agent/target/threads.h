// threads.h - the operating system's threads of a target, and what they do at this instant.
#pragma once
#include "agent/target/target.h"

// What /proc/PID/task/TID/syscall says (proc(5)): "running", or the number and arguments of the
// system call the thread waits in. Where the kernel has no such file, the state letter of .../stat
// stands in.
struct spy_thread_state {
    bool running;
    int64_t syscall;  // -1: none or not known
    uint64_t args[6]; // valid when syscall >= 0
};

// One thread's kept descriptor.
struct spy_thread_probe {
    pid_t tid; // in the numbering of our /proc
    int fd;    // of its syscall or stat file; -1: closed
    bool is_stat;
};

// Opens the probe of tid. SPY_ERR_GONE, SPY_ERR_DENIED; SPY_ERR_NOTFOUND for a core file.
int spy_thread_probe_open(const struct spy_target *t, pid_t tid, struct spy_thread_probe *ret);
void spy_thread_probe_close(struct spy_thread_probe *p);
// One pread. SPY_ERR_GONE when the thread has ended.
int spy_thread_probe_read(const struct spy_thread_probe *p, struct spy_thread_state *ret);

// A thread by both of its numbers: ours, and the one its own PID namespace gives it (what Python's
// threading.get_native_id() returns there). NSpid in /proc/PID/task/TID/status, proc(5).
struct spy_tid {
    pid_t tid, ns_tid;
};
enum { SPY_TIDS_MAX = 32768 };
// All threads now. *ret is an array to free(); SPY_ERR_GONE, SPY_ERR_NOMEM, SPY_ERR_LIMIT.
int spy_threads_list(const struct spy_target *t, struct spy_tid **ret, size_t *ret_n);
