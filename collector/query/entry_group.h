// entry_group.h - group=entry: each stack begins with its entry. Inside of collector/query.
#pragma once
#include "collector/query/entry_find.h"

// Removes the samples that *filter leaves out, and gives each other sample a stack whose outermost
// frame is a marker: its entry's function, or "[no entry]". Below it stand the frames from the entry
// inwards: all frames without an entry, none if s->entries_alone is set. *filter becomes a
// filter that keeps all, and so does s->filter. Errors as of spy_entries_find.
int spy_entries_group(const struct spy_question *q, struct spy_selector *s, struct spy_profile *p,
                      struct spy_filter **filter, struct spy_err *err);
