// signals.h - the signals that ask a command to finish. Inside of agent/cli.
//
// SIGINT, SIGTERM and SIGHUP all mean: finish and write the output. A SIGHUP that was ignored when
// podspy started (nohup) stays ignored.
//
// A terminal's Control-C reaches every process of its foreground group, and so does SIGHUP when the
// shell of a closed terminal has ended: a program that podspy started has already received that
// signal. It has not received a signal that was sent to podspy alone (kill, Kubernetes, docker
// stop).
#pragma once
#include <stdbool.h>
#include <stdint.h>

// Also makes writing to a closed pipe an error instead of SIGPIPE.
void spy_cli_catch_signals(void);
// Undoes that in a child that is about to exec: signals that were ignored are ignored again.
void spy_cli_release_signals(void);

// Counts SIGUSR1, which otherwise ends a process, in spy_cli_snapshots: a command that records
// writes what there is, and continues. After spy_cli_catch_signals, which undoes it as well.
void spy_cli_catch_snapshots(void);
extern _Atomic unsigned spy_cli_snapshots;

// The number of the first of these signals; 0 before it arrives.
extern _Atomic int spy_cli_stop;
// True if a terminal sent that signal to its whole foreground group.
bool spy_cli_stopped_by_terminal(void);
// When the latest of them arrived, by spy_clock_mono_ns; 0: none yet.
uint64_t spy_cli_signalled_ns(void);
