// switches.h - how often a thread was taken off a CPU, which tells whether it is on one.
//
// Read from /proc/PID/task/TID/sched, which is world-readable; kernels before 6.15 have it with
// CONFIG_SCHED_DEBUG only. A thread that is on a CPU has been given one (spy_thread_sched.slices,
// counted by sched_info_arrive, kernel/sched/stats.h) once more than it was taken off (nr_switches,
// counted by __schedule, kernel/sched/core.c). Nothing else in /proc tells a thread that runs from
// one that is ready to: stat's R and "running" in syscall mean both.
#pragma once
#include "agent/target/threads.h"

struct spy_thread_switches {
    uint64_t n;
    // When its time on the CPU was last brought up to date (se.exec_start): at ticks, and when it
    // was put on a CPU or taken off. On the clock of that CPU's run queue: comparable on one CPU
    // only.
    uint64_t updated_ns;
};

// Of the NUL-terminated text of such a file. false: it makes no sense.
bool spy_thread_switches_parse(const char *text, struct spy_thread_switches *ret);
// The codes of spy_thread_files_read, and SPY_ERR_TORN where the text makes no sense.
int spy_thread_probe_switches(struct spy_thread_probe *p, struct spy_thread_switches *ret);

// The same of the calling thread. open returns a descriptor to close, or -1.
int spy_own_switches_open(void);
int spy_own_switches_read(int fd, struct spy_thread_switches *ret);
