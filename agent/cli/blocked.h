// blocked.h - what an agent does when a read of a process's memory does not end: it starts itself
// anew and leaves that process alone. Inside of agent/cli.
//
// Nothing else ends such a read (agent/sampler/watch.h). What was counted is spooled first, so that
// some ten seconds of samples are missing and no more. Which processes are left alone is passed on
// in the environment variable PODSPY_BLOCKED, as "PID:START ..." with the start times of
// /proc/PID/stat.
#pragma once
#include "shared/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { SPY_BLOCKED_MAX = 256 };

struct spy_blocked {
    struct {
        pid_t pid;
        uint64_t start_time;
    } list[SPY_BLOCKED_MAX];
    size_t n;
};

// What the environment says, up to what makes no sense, without those that have ended.
void spy_blocked_load(struct spy_blocked *b);
bool spy_blocked_has(const struct spy_blocked *b, pid_t pid, uint64_t start_time);
// Of more than SPY_BLOCKED_MAX the oldest is forgotten.
void spy_blocked_add(struct spy_blocked *b, pid_t pid, uint64_t start_time);

// Runs `podspy agent` with these arguments (argv[0] is not looked at) in the place of this program.
// Returns an error, or not at all.
int spy_blocked_restart(const struct spy_blocked *b, char **argv, struct spy_err *err);
