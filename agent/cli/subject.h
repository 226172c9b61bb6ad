// subject.h - the process that a command was told to look at. Inside of agent/cli.
#pragma once
#include "agent/python/runtime.h"
#include <sys/types.h>

// A thread's number, as top -H and htop show it, names its process: *pid becomes that, and a line
// on stderr says so. What is not there stays, for the command to refuse.
void spy_cli_resolve_thread(pid_t *pid);
// Where two interpreters run in the process: says on stderr which is not read.
void spy_cli_note_other(pid_t pid, const struct spy_py_runtime *rt);
