// answer_json.h - a JSON document as the body of an answer. Inside of collector/query.
#pragma once
#include "collector/query/query.h"
#include <jansson.h>

// Takes root (NULL: there was no memory for it). SPY_ERR_LIMIT: it passes the body's cap;
// SPY_ERR_NOMEM.
int spy_answer_json(json_t *root, struct spy_answer *a, struct spy_err *err);

// Sets account, throttled and warning of an object: samples held against the kernel's clock, as
// docs/http-api.md tells them. What is not known is null.
void spy_answer_account(const struct spy_account *a, json_t *to);
