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

// The same for the calling thread. open returns a descriptor to close, or -1.
int spy_own_switches_open(void);
int spy_own_switches_read(int fd, struct spy_thread_switches *ret);
// True if a thread that was last updated at updated_ns was taken off its CPU when the calling thread
// came onto it, at woke_ns. now and woke_ns are CLOCK_MONOTONIC.
bool spy_own_switches_took_cpu(int fd, uint64_t woke_ns, uint64_t updated_ns, uint64_t now);
