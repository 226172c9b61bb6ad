// record_write.h - the files that a recording writes. Inside of agent/cli.
//
// With --rotate the files are FILE.0001.EXT, FILE.0002.EXT, ...: each has the samples since the one
// before. A file is replaced whole or not at all (output.h).
#pragma once
#include "agent/cli/recording.h"

// Chooses r->output and checks that it can be written. The errors of spy_output_choose.
int spy_record_choose_output(struct spy_recording *r, struct spy_err *err);
// Writes the last file and says how the recording went. 0; SPY_EXIT_PIPE; or a negative code.
int spy_record_write(struct spy_recording *r, enum spy_record_end why, struct spy_err *err);
// Writes the current file while the recording continues. If it is complete, the next file begins;
// else it will be written again with more samples. Without new samples, or if writing fails, it
// says so, and the samples stay for the next time.
void spy_record_write_part(struct spy_recording *r, bool complete);
