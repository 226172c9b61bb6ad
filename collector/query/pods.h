// pods.h - what is known, as JSON. Inside of collector/query.
#pragma once
#include "collector/query/query.h"
#include <jansson.h>

// The selected pods, each with its containers and their processes, as docs/http-api.md describes
// them: *ret is an array, the caller's. *s is filled from the question's parameters.
int spy_pods_collect(const struct spy_question *q, struct spy_selector *s, struct spy_answer *a,
                     json_t **ret, struct spy_err *err);
// Questions about pods, by whichever query.
extern int64_t spy_pods_n_asked;
