// reads.h - finds reads of a process's memory that do not end (agent/sampler/watch.h). Inside of
// agent/cli.
#pragma once
#include "agent/sampler/watch.h"
#include "shared/base/err.h"
#include "shared/base/every.h"

// Zeroed at first.
struct spy_cli_reads {
    struct spy_watch watch; // for whoever reads
    void (*give_up)(void *arg, pid_t pid);
    void *arg;
    uint64_t reading; // as looked at last
    unsigned looks;   // how often that was so
    struct spy_every *every;
};

#define SPY_CLI_NEVER_READ                                                                         \
    "a read of the memory of process %d does not end: a file system that it has mapped hangs, or " \
    "userfaultfd holds it up"

// From now on a thread looks every second. Of a read that is under way at ten looks in a row (to
// attach takes half a second of CPU at most, which is more where that is rationed) it calls
// give_up: all that the reading thread was at belongs to that function, which does not return.
int spy_cli_reads_begin(struct spy_cli_reads *r, void (*give_up)(void *arg, pid_t pid), void *arg,
                        struct spy_err *err);
void spy_cli_reads_end(struct spy_cli_reads *r);

// The give_up of a command for one process: says so and ends it.
_Noreturn void spy_cli_reads_fail(void *arg, pid_t pid);
