// unread.h - the processes that a command was to read and could not, and why. Inside of agent/cli.
//
// Bounded: past SPY_UNREAD_MAX they are only counted. Not thread safe.
#pragma once
#include "shared/base/buf.h"
#include <stddef.h>
#include <sys/types.h>

enum { SPY_UNREAD_MAX = 256, SPY_UNREAD_COMMAND = 240, SPY_UNREAD_REASON = 240 };

struct spy_unread_process {
    pid_t pid;
    char command[SPY_UNREAD_COMMAND], reason[SPY_UNREAD_REASON];
};

struct spy_unread {
    struct spy_unread_process *list; // owned; in the order in which they were added
    size_t n, cap;
    size_t n_more; // past SPY_UNREAD_MAX, or without memory for them
};

void spy_unread_free(struct spy_unread *u);
// Texts are cut, and unfit characters escaped (text.h).
void spy_unread_add(struct spy_unread *u, pid_t pid, const char *command, const char *reason);
// It could be read after all.
void spy_unread_remove(struct spy_unread *u, pid_t pid);
// A line for each process: pid, command, reason. Nothing if there are none.
int spy_unread_print(const struct spy_unread *u, struct spy_buf *out);
void spy_unread_say(const struct spy_unread *u); // the same on stderr
