// attach.h - finds the processes that a command is to read. Inside of agent/cli.
//
// --pid takes a process id or a pattern: a regular expression (regex.h) that is searched for in the
// command line of every process, its arguments separated by spaces. podspy itself and its ancestors
// do not count: their command lines hold the pattern too (sudo, a shell). Of the processes that
// match, those without Python do not count either. Those that may not be read do.
//
// Threads: any, but memory is read: a read that hangs ends podspy (hung_reads.h).
#pragma once
#include "agent/cli/unread.h"
#include "shared/base/err.h"

// The process that `text` means, an id or a pattern. The id of a thread stands for its process (see
// subject.h); an id that does not exist is left for the command to refuse. If several processes
// match, it lists them on stderr. SPY_ERR_NOTFOUND: none or several match; SPY_ERR_USAGE: neither an
// id nor a pattern; SPY_ERR_IO, SPY_ERR_NOMEM. Each message says what to do.
int spy_cli_find_process(const char *text, pid_t *ret, struct spy_err *err);

// Every Python process that may be read, without podspy, into ret (room for max). Adds to `unread`
// those that may not be read and look like Python by their names, and those whose Python cannot be
// read. SPY_ERR_NOTFOUND: there is none; SPY_ERR_LIMIT: more than max; SPY_ERR_IO, SPY_ERR_NOMEM.
int spy_cli_find_all(pid_t *ret, size_t max, size_t *ret_n, struct spy_unread *unread,
                     struct spy_err *err);
