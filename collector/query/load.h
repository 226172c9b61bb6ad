// load.h - the selected data from the store, read by several threads. Inside of collector/query.
#pragma once
#include "collector/query/query.h"

// What s->select selects, as spy_store_query reads it; the same errors. *ret is the caller's. With q->workers
// above 1 several threads read, each some of the pods: then pods may be of slightly different instants,
// and each window is still whole.
int spy_load_selected(const struct spy_question *q, const struct spy_selector *s,
                      struct spy_profile **ret, struct spy_err *err);
