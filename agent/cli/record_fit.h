// record_fit.h - prints a recording so that it fits into the room of a buffer.
#pragma once
#include "shared/formats/format.h"

enum { SPY_RECORD_NODES_MAX = 20000 };

// Appends the profile to `out`, which is empty. What does not fit into out->max as it is is merged
// (view->timeline becomes NULL), then folded to SPY_RECORD_NODES_MAX nodes (view->max_nodes), as svg
// and json always are, and then printed as a flamegraph: *ret is the format that was printed,
// `format` or svg. SPY_ERR_LIMIT if even that does not fit; other codes are the format's.
int spy_record_fit(const struct spy_format *format, struct spy_view *view,
                   const struct spy_profile *p, struct spy_buf *out, const struct spy_format **ret,
                   struct spy_err *err);
