// program.h - the program that record or top starts. Inside of agent/cli.
//
// It runs as it would without podspy: as the user who called sudo, and with that user's signal
// dispositions. When the recording ends, the program may take any time to end; only a second signal
// cuts that short. If podspy itself is killed, the kernel sends the program SIGTERM.
#pragma once
#include "shared/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// argv: as for execvp. Returns once the program runs or has failed to start. SPY_ERR_NOTFOUND,
// SPY_ERR_IO.
int spy_program_start(char **argv, pid_t *ret, struct spy_err *err);
// The same for a program that shares podspy's terminal but must not read or write there: its input is
// empty, and its output goes to the file `output`.
int spy_program_start_apart(char **argv, int output, pid_t *ret, struct spy_err *err);
// True if it has ended; it stays a zombie until spy_program_wait.
bool spy_program_ended(pid_t pid);

// Sends it the signal, or SIGTERM if it ignores that signal.
void spy_program_signal(pid_t pid, int number);
// Waits until it has ended, however long that takes; *ret_status is waitpid's. After a moment it
// says on stderr that it waits. A SIGINT, SIGTERM or SIGHUP that arrives later than a moment after
// asked_ns (spy_clock_mono_ns) kills the program with SIGKILL. SPY_ERR_DENIED: podspy may not kill
// it (sudo has made it another user's), or it has not ended by the next signal; stderr says so.
int spy_program_wait(pid_t pid, uint64_t asked_ns, int *ret_status);

// The exit status as a shell has it: the program's own, or 128 + the signal.
int spy_program_status(int wait_status);
// "with status 3", "by SIGSEGV"; returns out.
const char *spy_program_how(int wait_status, char *out, size_t size);
