// auth.h - who may send profiles and who may read them.
//
// Bearer tokens live in files of the data folder and are read again when the files change, so that
// they can be replaced while the collector runs. Comparison takes the same time wherever two tokens
// differ. A client certificate counts when the TLS session verified it against client_ca_file.
//
// Threads: spy_auth_check may be called from any thread.
#pragma once
#include "shared/base/err.h"
#include "shared/base/metrics.h"
#include <stdbool.h>

enum { SPY_AUTH_BY_TOKEN = 1, SPY_AUTH_BY_MTLS = 2 };
enum spy_auth_role { SPY_AUTH_INGEST, SPY_AUTH_READ };

struct spy_auth;

// Makes ingest.token and read.token in dir (mode 0600) where they do not exist yet. ways:
// SPY_AUTH_BY_ bits.
int spy_auth_new(const char *dir, unsigned ingest_ways, unsigned read_ways, struct spy_auth **ret,
                 struct spy_err *err);
void spy_auth_free(struct spy_auth *a);
// authorization: the header's value; tls_session: gnutls_session_t or NULL. On false *ret_why says
// why.
bool spy_auth_check(struct spy_auth *a, enum spy_auth_role role, const char *authorization,
                    void *tls_session, const char **ret_why);

extern const struct spy_metric spy_auth_metrics[];
extern const size_t spy_auth_n_metrics;
