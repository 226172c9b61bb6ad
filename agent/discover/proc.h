// proc.h - bounded reading of the world-readable files of /proc/PID. For agent/discover, and for
// the commands that follow a process.
//
// Source of the formats: proc_pid_stat(5), proc_pid_status(5), proc_pid_cmdline(5). Of stat the
// first thread's is read, task/PID/stat, which differs in the times and faults only: for the
// process's own the kernel sums up those of all threads, twice (fs/proc/array.c), 1.4 ms where
// there are 10,000. A process chooses its own name and arguments, so both are hostile: a name can
// hold ')' and newlines, the arguments can be megabytes. What is too long is cut.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    SPY_PROC_COMM = 64,
    SPY_PROC_ARGS = 4096,
    SPY_PROC_ARGV0 = 512,
    SPY_PROC_STAT = 2048,
    SPY_PROC_CMDLINE = 1025, // of spy_process.cmdline, with the NUL
};

struct spy_proc_stat {
    pid_t pid, ppid;
    char comm[SPY_PROC_COMM]; // as it is: not yet fit for printing, see spy_proc_clean
    char state;               // 'R', 'S', 'Z', ...
    bool kernel;              // a kernel thread
    uint32_t threads;
    uint64_t start_time; // clock ticks since boot
    // Addresses of code and stack, mixed. They differ after an exec, unlike the start time. 0:
    // there is no memory any more, as the first thread has ended. Always the same for a reader that
    // may not trace the process.
    uint64_t image;
};

struct spy_proc_status {
    pid_t tgid;
    pid_t ns_pid; // last number of NSpid; 0: not there
    int ns_depth; // how many numbers NSpid has
    uid_t uid;    // effective
};

struct spy_proc_args {
    char joined[SPY_PROC_ARGS + 1]; // separated by spaces, none at the end
    size_t len;
    char argv0[SPY_PROC_ARGV0];
};

// Each parses len bytes of text (not NUL-terminated) and returns 0 or SPY_ERR_INVALID.
int spy_proc_stat_parse(const char *text, size_t len, struct spy_proc_stat *ret);
int spy_proc_status_parse(const char *text, size_t len, struct spy_proc_status *ret);
// Cannot fail: any bytes are arguments.
void spy_proc_args_parse(const char *text, size_t len, struct spy_proc_args *ret);

// The same from the file of an open folder /proc/PID. SPY_ERR_GONE when the process is, also
// SPY_ERR_DENIED.
int spy_proc_stat_read(int dir, pid_t pid, struct spy_proc_stat *ret);
int spy_proc_status_read(int dir, struct spy_proc_status *ret);
int spy_proc_args_read(int dir, struct spy_proc_args *ret);

// Opens the folder PID below proc. All that is read from it is of one process: after its exit the
// reads fail, also when the number is in use again. Returns a descriptor or SPY_ERR_GONE, _DENIED.
int spy_proc_open(int proc, pid_t pid);
// One read of an open file of /proc, from its start: each of those used here comes whole. At most
// size - 1 bytes, ended by a NUL. The length, or a negative code.
ssize_t spy_proc_pread(int fd, char *out, size_t size);
// The same of one file of a process, without its folder, for a single look.
ssize_t spy_proc_peek(int proc, pid_t pid, const char *name, char *out, size_t size);
int spy_proc_stat_peek(int proc, pid_t pid, struct spy_proc_stat *ret);
// Opens stat in the open folder of a process, for spy_proc_stat_again. A descriptor, or a negative
// code.
int spy_proc_stat_open(int dir, pid_t pid);
int spy_proc_stat_again(int fd, struct spy_proc_stat *ret);

// A zombie whose last thread is gone.
static inline bool spy_proc_dead(const struct spy_proc_stat *s)
{
    return (s->state == 'Z' || s->state == 'X') && s->threads <= 1;
}

// Copies text into out (size bytes with the NUL), cut at a character, with '?' for each control
// character and each byte that is not UTF-8.
void spy_proc_clean(char *out, size_t size, const char *text, size_t len);
// The arguments of a process of /proc as spy_process.cmdline has them; "" where there are none.
void spy_proc_cmdline(pid_t pid, char *out, size_t size);
