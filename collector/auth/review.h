// review.h - tokens that the Kubernetes API server verifies. Inside of collector/auth.
//
// To send, a token must be for the collector's audience and belong to the agent's account, by a
// TokenReview. To read, a token for the API server itself (such as a person's) is accepted too, and
// its account must be allowed to `get` the collector's service, by a SubjectAccessReview.
//
// Verdicts are cached by the SHA-256 of the token: a yes for SPY_REVIEW_YES_SECS but never past the
// token's expiry, a no for SPY_REVIEW_NO_SECS; at most SPY_REVIEW_KEPT, and a no never evicts a valid
// yes. A token whose form, audience or expiry is wrong is refused without a request. At most
// SPY_REVIEW_AT_ONCE requests are in progress, and after a request without an answer there is a pause
// of a second: callers that would have to wait longer get SPY_AUTH_AWAY. So neither an unreachable
// API server nor a flood of forged tokens delays other clients.
//
// Any thread.
#pragma once
#include "collector/auth/options.h"

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
