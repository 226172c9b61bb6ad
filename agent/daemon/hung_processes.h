// hung_processes.h - the processes an agent does not read, because a read of their memory hung, and
// how the agent restarts without them. Inside of agent/daemon.
//
// Only ending the program ends such a read (agent/sampler/hung_mark.h), so the agent replaces
// itself by exec. It spools the current window first: about ten seconds of samples are lost, no
// more. The list is passed on in the environment variable PODSPY_BLOCKED, as "PID:START ..." with
// the start times of /proc/PID/stat.
#pragma once
#include "shared/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { SPY_HUNG_PROCESSES_MAX = 256 };

struct spy_hung_processes {
    struct {
        pid_t pid;
        uint64_t start_time;
    } list[SPY_HUNG_PROCESSES_MAX];
    size_t n;
};

// Reads the environment variable up to its first malformed entry. Processes that have ended are
// left out.
void spy_hung_processes_load(struct spy_hung_processes *h);
bool spy_hung_processes_has(const struct spy_hung_processes *h, pid_t pid, uint64_t start_time);
// A full list drops its oldest entry.
void spy_hung_processes_add(struct spy_hung_processes *h, pid_t pid, uint64_t start_time);

// Replaces this program by `podspy agent` with the same arguments (argv[0] is ignored). Returns
// only on failure: SPY_ERR_NOMEM, SPY_ERR_IO.
int spy_hung_processes_restart(const struct spy_hung_processes *h, char **argv,
                               struct spy_err *err);
