// switches.h - how often a thread was taken off a CPU, which shows whether it is on one.
//
// Read from /proc/PID/task/TID/sched, which is world-readable; kernels before 6.15 have it only
// with CONFIG_SCHED_DEBUG. A thread that is on a CPU was given one (spy_thread_sched.slices,
// counted by sched_info_arrive, kernel/sched/stats.h) once more often than it was taken off
// (nr_switches, counted by __schedule, kernel/sched/core.c). Nothing else in /proc distinguishes a
// running thread from a runnable one: R in stat and "running" in syscall mean both.
#pragma once
#include "agent/target/threads.h"

struct spy_thread_switches {
    uint64_t n;
    // When its time on the CPU was last updated (se.exec_start): at ticks, and when it was put on a
    // CPU or taken off. By the clock of that CPU's run queue: comparable only on one CPU.
    uint64_t updated_ns;
};

// Parses the NUL-terminated text of such a file. False: not such a file.
bool spy_thread_switches_parse(const char *text, struct spy_thread_switches *ret);
// The codes of spy_thread_files_read, and SPY_ERR_TORN: the text cannot be parsed.
int spy_thread_probe_switches(struct spy_thread_probe *p, struct spy_thread_switches *ret);

// The calling thread: since when it has been on its CPU. In between it may have been taken off that
// CPU without a sleep of its own: while it waited for a thread to stop, or by another program.
struct spy_own_switches {
    int fd;           // of its file; -1: there is none
    uint64_t woke_ns; // when it last woke up from its sleep, CLOCK_MONOTONIC; 0: it has not slept
    uint64_t n_woke;  // how often it had been taken off a CPU by then
    // When it last came onto its CPU, by the clock of that CPU's run queue, how much earlier that
    // may have been, and how often it had been taken off one by then. slack_ns 0: not known yet.
    uint64_t came_ns, slack_ns, n_came;
};

// Opens the file of the calling thread, which is the one for all other calls.
void spy_own_switches_init(struct spy_own_switches *o);
void spy_own_switches_done(struct spy_own_switches *o);
// After each sleep of the calling thread. One system call.
void spy_own_switches_woke(struct spy_own_switches *o, uint64_t now_ns);
// True if a thread that was last updated at updated_ns was taken off its CPU when the calling thread
// came onto it. Costs a read of a file the first time after the calling thread has come onto a CPU.
bool spy_own_switches_took_cpu(struct spy_own_switches *o, uint64_t updated_ns);
