// runnable.h - does anything else run on this machine just now?
//
// The kernel brings a process's CPU time up to date when a thread of it stops running, and at ticks
// (thread_group_cputime, kernel/sched/cputime.c), so that time alone does not show a thread that
// has just woken up and runs. It is enough where nothing but the one who asks was runnable at that
// moment: then nothing of any process was running.
#pragma once
#include <stdbool.h>

struct spy_runnable {
    int fd; // /proc/loadavg; -1: not to be had, or not the kernel's own (lxcfs shows a container's)
};

void spy_runnable_open(struct spy_runnable *r);
void spy_runnable_close(struct spy_runnable *r);
// At one moment during the call. False when it cannot be told.
bool spy_runnable_alone(const struct spy_runnable *r);
