// answer_json.h - a JSON document as the body of an answer. Inside of collector/query.
#pragma once
#include "collector/query/query.h"
#include <jansson.h>

// Takes root (NULL: there was no memory for it). SPY_ERR_LIMIT: it passes the body's cap;
// SPY_ERR_NOMEM.
int spy_answer_json(json_t *root, struct spy_answer *a, struct spy_err *err);
