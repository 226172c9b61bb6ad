// hung_reads.h - detects reads of a process's memory that never return.
//
// The thread that reads marks each read in a struct spy_hung_mark (agent/sampler/hung_mark.h); a
// second thread checks once a second whether the same read is still under way.
#pragma once
#include "agent/sampler/hung_mark.h"
#include "shared/base/err.h"
#include "shared/base/every.h"

// Zeroed by the caller.
struct spy_hung_reads {
    struct spy_hung_mark mark; // for the thread that reads
    void (*give_up)(void *arg, pid_t pid);
    void *arg;
    uint64_t reading; // the read seen at the last check
    unsigned checks;  // how many checks in a row have seen it
    struct spy_every *every;
};

// The error text; takes the process as an int.
#define SPY_HUNG_READ_TEXT                                                                         \
    "a read of the memory of process %d does not end: a file system that it has mapped hangs, or " \
    "userfaultfd holds it up"

// Starts the checks. When ten checks in a row see the same read (attaching takes half a second of
// CPU at most, but longer in wall time where CPU is rationed), give_up is called on the checking
// thread. give_up then owns everything the reading thread was using, and must not return.
int spy_hung_reads_begin(struct spy_hung_reads *r, void (*give_up)(void *arg, pid_t pid), void *arg,
                         struct spy_err *err);
void spy_hung_reads_end(struct spy_hung_reads *r);

// A give_up for commands that read one process: prints the error and exits.
_Noreturn void spy_hung_reads_fail(void *arg, pid_t pid);
