// answer_json.h - a JSON document as the body of an answer. Inside of collector/query.
#pragma once
#include "collector/query/query.h"
#include <jansson.h>

// Makes root the answer's body, and frees it. root NULL: SPY_ERR_NOMEM. SPY_ERR_LIMIT: it exceeds the
// body's cap.
int spy_answer_json(json_t *root, struct spy_answer *a, struct spy_err *err);

// Sets account, throttled and warning of an object: samples compared with the kernel's CPU time, as
// docs/http-api.md describes. Unknown values are null.
void spy_answer_account(const struct spy_account *a, json_t *to);
