// pids.h - every process that /proc lists. Inside of agent/cli.
//
// Threads: any; a list and a DIR belong to one thread at a time.
#pragma once
#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

// The next process of an open /proc, in the kernel's order; 0: there are no more.
pid_t spy_pids_next(DIR *proc);

// Zeroed by the caller, and freed with spy_pids_done.
struct spy_pids {
    pid_t *list; // in ascending order; owned
    size_t n, cap;
};

// Replaces the list by all processes, from the start of an open /proc. SPY_ERR_NOMEM.
int spy_pids_list(struct spy_pids *p, DIR *proc);
bool spy_pids_has(const struct spy_pids *p, pid_t pid);
void spy_pids_done(struct spy_pids *p);
