// activity.h - what the processes of GET /pods did over time: samples by state, and busy samples for
// each step. Inside of collector/query.
#pragma once
#include "collector/query/query.h"
#include <jansson.h>

// The process of the answer that has these labels; borrowed. NULL: it is not listed.
typedef json_t *(*spy_activity_find_fn)(void *arg, const json_t *labels);

// Adds "states", "gil", "gc" and "activity" to the processes that find returns, from the selected
// windows in s->steps equal steps. A window counts in the step in which it begins. Reads windows
// without their stacks. Errors as of query.h.
int spy_activity_add(const struct spy_question *q, const struct spy_selector *s,
                     spy_activity_find_fn find, void *arg, struct spy_err *err);
