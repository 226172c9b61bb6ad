// auth.h - who may send profiles and who may read them.
//
// Three ways, as the configuration allows them for each role:
//
//     token       bearer tokens in files of the data folder, read again when the files change, so
//                 that they can be replaced while the collector runs. Comparison takes the same
//                 time wherever two tokens differ and however long ours is. read.header holds
//                 "Authorization: Bearer " and the read token, for curl -H @FILE
//     mtls        a client certificate that client_ca_file vouches for (clients.h)
//     kubernetes  service account tokens, which the API server is asked about (review.h)
//
// Threads: spy_auth_check may be called from any thread.
#pragma once
#include "collector/kube/kubeapi.h"
#include "shared/base/err.h"
#include "shared/base/metrics.h"
#include <stdbool.h>

enum { SPY_AUTH_BY_TOKEN = 1, SPY_AUTH_BY_MTLS = 2, SPY_AUTH_BY_KUBERNETES = 4 };
enum spy_auth_role { SPY_AUTH_INGEST, SPY_AUTH_READ };
enum spy_auth_answer {
    SPY_AUTH_YES,
    SPY_AUTH_UNKNOWN,   // 401: no credential, or none that holds
    SPY_AUTH_FORBIDDEN, // 403: it holds, but is somebody's who may not
    SPY_AUTH_AWAY,      // 503: the API server cannot be asked now
    SPY_AUTH_LATER,     // only where it may not wait: ask where it may
};

struct spy_auth_options {
    const char *dir;            // the data folder
    unsigned ways[2];           // SPY_AUTH_BY_ bits for each role
    const char *client_ca_file; // borrowed; NULL: no client's certificate counts
    struct spy_kubeapi *kube;   // borrowed; with SPY_AUTH_BY_KUBERNETES
    const char *audience;       // that the agents' tokens are for, borrowed as the rest
    // The accounts that may send, each system:serviceaccount:NAMESPACE:NAME, commas between them.
    const char *agent;
    const char *service;    // who may `get` this service of name_space may read
    const char *name_space; //
};

struct spy_auth;
// Makes ingest.token and read.token in dir (mode 0600) where they do not exist yet.
int spy_auth_new(const struct spy_auth_options *options, struct spy_auth **ret,
                 struct spy_err *err);
void spy_auth_free(struct spy_auth *a);
// Reads tokens and authorities again, one call at a time. On failure what was read before stays.
int spy_auth_refresh(struct spy_auth *a, struct spy_err *err);

struct spy_credential {
    const char *authorization; // the header's value, "" when there is none
    void *tls_session;         // gnutls_session_t or NULL
};
// *ret_why says, when the answer is not yes, what is wrong; static.
enum spy_auth_answer spy_auth_check(struct spy_auth *a, enum spy_auth_role role,
                                    const struct spy_credential *credential, bool may_wait,
                                    const char **ret_why);

extern const struct spy_metric spy_auth_metrics[];
extern const size_t spy_auth_n_metrics;
