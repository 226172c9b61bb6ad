// review.h - tokens that Kubernetes vouches for. Inside of collector/auth.
//
// To send, a token must be for our audience and be the agent's account's, by a TokenReview. To
// read, it may also be one for the API server itself, such as a person's, and its account must be
// allowed to `get` the collector's service, by a SubjectAccessReview.
//
// Answers are kept by the SHA-256 of the token: a yes for SPY_REVIEW_YES_SECS and never past the
// token's own end, a no for SPY_REVIEW_NO_SECS. SPY_REVIEW_KEPT answers at most; a no never drives
// out a yes that still holds. What cannot be a right token by its form, audience or end is refused
// without a question. At most SPY_REVIEW_AT_ONCE questions are under way, and after one that got no
// answer none is asked for a second: who would have to wait longer gets SPY_AUTH_AWAY. So neither
// an API server that is away nor a flood of made-up tokens holds up anybody else.
//
// Any thread.
#pragma once
#include "collector/auth/auth.h"

enum {
    SPY_REVIEW_YES_SECS = 60,
    SPY_REVIEW_NO_SECS = 10,
    SPY_REVIEW_KEPT = 32768,
    SPY_REVIEW_AT_ONCE = 8
};

struct spy_review;
// Uses kube, audience, agent, service and name_space.
int spy_review_new(const struct spy_auth_options *options, struct spy_review **ret,
                   struct spy_err *err);
void spy_review_free(struct spy_review *v);
// As spy_auth_check.
enum spy_auth_answer spy_review_check(struct spy_review *v, enum spy_auth_role role,
                                      const char *token, bool may_wait, const char **ret_why);

extern int64_t spy_review_n_yes, spy_review_n_no, spy_review_n_failed;
