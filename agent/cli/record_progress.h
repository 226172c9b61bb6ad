// record_progress.h - the line that shows how a recording proceeds. Inside of agent/cli.
//
// Nothing is printed where standard error is not a terminal, or with --hideprogress.
#pragma once
#include "agent/cli/recording.h"

// Prints the line over the previous one.
void spy_record_progress(const struct spy_recording *r);
// Removes it, so that another line can be printed.
void spy_record_clear_progress(const struct spy_recording *r);
