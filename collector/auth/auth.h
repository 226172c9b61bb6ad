// auth.h - who may send profiles and who may read them.
//
// The configuration allows one or more of three ways for each role:
//
//     token       bearer tokens in files of the data folder. They are read again when the files
//                 change, so tokens can be replaced while the collector runs. Comparing takes the
//                 same time whatever the two tokens are. read.header holds "Authorization: Bearer "
//                 and the read token, for curl -H @FILE
//     mtls        a client certificate issued by an authority in client_ca_file (clients.h)
//     kubernetes  service account tokens, which the API server reviews (review.h)
//
// Threads: spy_auth_check may be called from any thread.
#pragma once
#include "collector/auth/options.h"
#include "shared/base/err.h"
#include "shared/base/metrics.h"

struct spy_auth;
// Makes ingest.token and read.token in dir (mode 0600) if they do not exist.
int spy_auth_new(const struct spy_auth_options *options, struct spy_auth **ret,
                 struct spy_err *err);
void spy_auth_free(struct spy_auth *a);
// Reads tokens and authorities again; one call at a time. On failure the previous ones stay.
int spy_auth_refresh(struct spy_auth *a, struct spy_err *err);

struct spy_credential {
    const char *authorization; // the header's value, "" when there is none
    void *tls_session;         // gnutls_session_t or NULL
};
// *ret_why: what is wrong, unless the answer is yes; static.
enum spy_auth_answer spy_auth_check(struct spy_auth *a, enum spy_auth_role role,
                                    const struct spy_credential *credential, bool may_wait,
                                    const char **ret_why);

extern const struct spy_metric spy_auth_metrics[];
extern const size_t spy_auth_n_metrics;
