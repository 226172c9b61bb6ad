// record_run.h - a recording from the first sample to the last. Inside of agent/cli.
#pragma once
#include "agent/cli/recording.h"

// Samples until the end, signals the program that podspy started, and writes the file. r->pid runs.
// *why: why it ended. 0; SPY_EXIT_PIPE; or a negative code.
int spy_record_run(struct spy_recording *r, enum spy_record_end *why, struct spy_err *err);
void spy_recording_done(struct spy_recording *r);
