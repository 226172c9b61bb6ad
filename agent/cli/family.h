// family.h - the processes that record and top sample: the given ones and, if asked for, their
// descendants, as they come and go. Inside of agent/cli.
//
// A descendant is found in a listing of /proc, by its parent, and stays one if it is handed over to
// another parent later. A process that starts and ends between two updates is missed. A descendant
// that is not a Python process has no samples; the sampler tries it again in case it becomes one.
//
// Threads: as the sampler it adds processes to.
#pragma once
#include "agent/cli/unread.h"
#include "agent/sampler/sampler.h"

struct spy_family;

struct spy_family_options {
    struct spy_sampler *sampler; // borrowed
    uint32_t rate;               // as in spy_sampler_process
    enum spy_pausing pausing;
    enum spy_natives natives;
    bool descendants; // follow them
    pid_t program;    // that podspy has started, a zombie until it is waited for; 0: none
    // Gets the descendants that cannot be read, with their reasons; borrowed; NULL: not wanted.
    struct spy_unread *unread;
};

// SPY_ERR_NOMEM, SPY_ERR_IO (no /proc).
int spy_family_new(const struct spy_family_options *options, struct spy_family **ret,
                   struct spy_err *err);
void spy_family_free(struct spy_family *f);

// Adds a given process. SPY_ERR_LIMIT, SPY_ERR_NOMEM.
int spy_family_add(struct spy_family *f, pid_t pid, struct spy_err *err);

// Adds new descendants, drops those that have ended, and notices what called exec. To be called
// some times a second between the sampler's rounds. The errors of spy_family_add; a process past
// SPY_SAMPLER_PROCESSES_MAX is counted and left out instead.
int spy_family_update(struct spy_family *f, struct spy_err *err);

// Samples until one of the processes can be. A process given by its id gets a second, in case it is
// just starting; a program that podspy has started gets the ten that an interpreter may need to
// start, and so does a process without Python whose descendants are followed. SPY_ERR_AGAIN: podspy
// was asked to end; SPY_ERR_GONE: all have ended; SPY_ERR_NOTFOUND: the first one's problem is the
// message; the errors of spy_family_update.
int spy_family_wait(struct spy_family *f, struct spy_err *err);

bool spy_family_is_alive(const struct spy_family *f, pid_t pid); // it exists, and is not a zombie
bool spy_family_attached(const struct spy_family *f);            // to at least one
// All sampled processes have ended, and so have the given ones. If there is a program and its
// descendants are not followed, the program has.
bool spy_family_ended(const struct spy_family *f);
// How many descendants were left out, past SPY_SAMPLER_PROCESSES_MAX.
size_t spy_family_n_left_out(const struct spy_family *f);
// The latest command line of the first given process, which survives its end; borrowed.
const char *spy_family_command(const struct spy_family *f);
