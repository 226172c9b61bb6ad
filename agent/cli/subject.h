// subject.h - the process that a command was given. Inside of agent/cli.
#pragma once
#include "agent/python/runtime.h"
#include <sys/types.h>

// If *pid is the id of a thread, as top -H and htop show it, replaces it by the id of its process
// and says so on stderr. An id that does not exist is left for the command to refuse.
void spy_cli_resolve_thread(pid_t *pid);
// If two interpreters run in the process, says on stderr which one is not read.
void spy_cli_print_other(pid_t pid, const struct spy_py_runtime *rt);
