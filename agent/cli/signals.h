// signals.h - the signals that ask a command to finish. Inside of agent/cli.
//
// SIGINT, SIGTERM and SIGHUP all mean: finish, and write the output. A SIGHUP that was ignored
// before podspy began (nohup) stays ignored.
//
// A terminal's Control-C reaches every process of its foreground group, and so does SIGHUP when the
// shell of a closed terminal has ended: a program that podspy started has that signal already. What
// somebody sends to podspy alone (kill, Kubernetes, docker stop) it has not.
#pragma once
#include <stdbool.h>
#include <stdint.h>

// Also lets a closed pipe be an error of write.
void spy_cli_catch_signals(void);
// Undoes that, in a child that is to become another program: what was ignored is ignored again.
void spy_cli_release_signals(void);

// The number of the first of these signals, once there was one.
extern _Atomic int spy_cli_stop;
// Did a terminal send that one, to all that run on it?
bool spy_cli_stopped_by_terminal(void);
// When the latest came, by spy_clock_mono_ns; 0: none yet.
uint64_t spy_cli_signalled_ns(void);
