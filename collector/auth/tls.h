// tls.h - the certificate that the collector shows, from where it is kept, and renewed there.
//
//     given files       read again when they change
//     the data folder   mode 0600: ca.pem and ca.key, server.pem and server.key, made on first
//                       start (cert.h tells of their lives and names)
//     a Secret          the same, for all replicas alike (secret.h); the authority's certificate
//                       also in a ConfigMap and, for people, as ca.pem in the data folder
//
// Threads: spy_tls_current from any; the others one at a time.
#pragma once
#include "collector/kube/kubeapi.h"
#include "shared/base/err.h"
#include <gnutls/abstract.h>

struct spy_tls_options {
    const char *dir;                  // the data folder
    const char *cert_file, *key_file; // NULL: the own authority
    struct spy_kubeapi *kube;         // borrowed; used with secret
    const char *secret;               // NULL: in the data folder
    const char *config_map;           // NULL: not published
    const char *service, *name_space; // NULL: podspy-collector in podspy
};

struct spy_tls;
// The options are borrowed for the life of it. SPY_ERR_INVALID: a given file is not PEM, not a pair
// or not for servers, or what is kept is damaged; otherwise what kubeapi.h says. An API server that
// is away is asked for SPY_TLS_PATIENCE_SECS.
enum { SPY_TLS_PATIENCE_SECS = 20, SPY_TLS_REFRESH_SECS = 60 };
int spy_tls_new(const struct spy_tls_options *options, struct spy_tls **ret, struct spy_err *err);
// Looks at what is kept, renews what ends soon, publishes. To be called every SPY_TLS_REFRESH_SECS;
// new connections then get the new certificate. On failure the old one stays.
int spy_tls_refresh(struct spy_tls *t, struct spy_err *err);
void spy_tls_free(struct spy_tls *t);

// What to show to a new connection; valid until spy_tls_free. arg: the struct spy_tls.
void spy_tls_current(void *arg, gnutls_pcert_st **ret_chain, unsigned *ret_n,
                     gnutls_privkey_t *ret_key);
