// program.h - the program that record starts. Inside of agent/cli.
//
// It runs as it would without podspy: as the user who called sudo, with its own signals. Whatever
// ends the recording, the program has the time it takes to end; nothing but a second signal cuts
// that short. When podspy itself is killed, the kernel sends the program SIGTERM.
#pragma once
#include "shared/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// argv: as for execvp. Returns once the program has begun, or could not. SPY_ERR_NOTFOUND,
// SPY_ERR_IO.
int spy_program_start(char **argv, pid_t *ret, struct spy_err *err);
// It is a zombie until spy_program_wait.
bool spy_program_ended(pid_t pid);

// Sends it the signal; SIGTERM where it ignores that one.
void spy_program_ask(pid_t pid, int number);
// Waits until it has ended, which may last for ever; *ret_status is as of waitpid. Says on stderr
// that it waits when that takes more than a moment. SIGINT, SIGTERM or SIGHUP that come later than
// a moment after asked_ns (spy_clock_mono_ns) end it at once, with SIGKILL. SPY_ERR_DENIED: it must
// not be killed (sudo has made it another user's), or has not ended by the next signal after that;
// stderr says so.
int spy_program_wait(pid_t pid, uint64_t asked_ns, int *ret_status);

// A shell's exit status: of its own, or 128 + the signal.
int spy_program_status(int wait_status);
// "with status 3", "by SIGSEGV"; returns out.
const char *spy_program_how(int wait_status, char *out, size_t size);
