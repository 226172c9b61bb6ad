// kube.h - the pods of this node, from the Kubernetes API. Inside of agent/discover.
//
// A thread of its own lists them and then watches what changes, so an API server that is slow, away
// or wrong never holds up sampling. The last known pods stay while the API is away. A watch that is
// too old (410) leads to a new list; a watch that ends is resumed at its last version. Failures are
// retried after half a second, then with longer waits up to 8 s, with jitter. The token is read for
// each request, and a changed CA file makes the next request open a new connection; a watch lasts
// five minutes at most.
//
// A pod with a wrong annotation gets an Event if the account may create Events; after a refusal no
// more are sent.
//
// The account needs list and watch on pods, and create on events for those Events. Bounds: pods.h,
// split.h; a line of a watch 2 MiB, a request for a list 60 s, 32 Events waiting.
#pragma once
#include "agent/discover/access.h"
#include "agent/discover/pods.h"
#include <stdbool.h>

struct spy_kube;

struct spy_kube_view {
    struct spy_pods pods; // the taker's to free
    bool synced;          // there was a whole list
    bool failing;         // the last request failed: err says how
    bool full;            // there are more than SPY_PODS_MAX
    size_t skipped;       // pods that were too large or could not be parsed
    struct spy_err err;
};

// access is copied.
int spy_kube_new(const struct spy_access *access, struct spy_kube **ret, struct spy_err *err);
void spy_kube_free(struct spy_kube *k); // ends the thread, at once
// True when something changed since the last view taken. Never waits for the network.
bool spy_kube_take(struct spy_kube *k, struct spy_kube_view *ret);
