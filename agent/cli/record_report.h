// record_report.h - what record says on stderr besides its progress. Inside of agent/cli.
#pragma once
#include "agent/cli/recording.h"

// The error of a recording that ended without samples. Sets r->unsampled.
int spy_record_fail_unsampled(struct spy_recording *r, enum spy_record_end why,
                              struct spy_err *err);
void spy_record_say_start(const struct spy_record *rec);
// One line on a file: its name, and what was counted since r->before.
void spy_record_say_written(const struct spy_recording *r, const struct spy_output *o);
void spy_record_say_end(enum spy_record_end why);
// The last lines: what was lost and why, what the kernel counted, and why the file shows nothing. p
// and view are those of the last file.
void spy_record_say_losses(const struct spy_recording *r, const struct spy_profile *p,
                           const struct spy_view *view);
