// record_write.h - what a recording writes: its file, and its last lines on stderr. Inside of
// agent/cli.
#pragma once
#include "agent/cli/recording.h"

// Chooses r->output and checks that it can be written. The errors of spy_output_choose.
int spy_record_choose_output(struct spy_recording *r, struct spy_err *err);
// The error of a recording that ended without samples. Sets r->unsampled.
int spy_record_fail_unsampled(struct spy_recording *r, enum spy_record_end why,
                              struct spy_err *err);
// Writes the file and says how the recording went. 0; SPY_EXIT_PIPE; or a negative code.
int spy_record_write(struct spy_recording *r, enum spy_record_end why, struct spy_err *err);
