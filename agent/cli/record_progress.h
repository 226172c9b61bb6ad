// record_progress.h - the line that shows how a recording proceeds. Inside of agent/cli.
#pragma once
#include "agent/cli/recording.h"

// Prints the line over the previous one. Nothing where standard error is not a terminal.
void spy_record_progress(const struct spy_recording *r);
