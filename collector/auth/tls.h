// tls.h - the certificate that the collector presents: loaded from one of three places, and renewed.
//
//     given files       read again when they change
//     the data folder   mode 0600: ca.pem and ca.key, server.pem and server.key, made on the first
//                       start (cert.h has their names and lifetimes)
//     a Secret          the same, shared by all replicas (secret.h); the authority's certificate is
//                       also in a ConfigMap and, for people, in ca.pem of the data folder
//
// Threads: spy_tls_current from any; the others one at a time.
#pragma once
#include "collector/kube/kubeapi.h"
#include "shared/base/err.h"
#include <gnutls/abstract.h>

struct spy_tls_options {
    const char *dir;                  // the data folder
    const char *cert_file, *key_file; // NULL: made by the collector
    struct spy_kubeapi *kube;         // borrowed; used with secret
    const char *secret;               // NULL: in the data folder
    const char *config_map;           // NULL: not published
    const char *service, *name_space; // NULL: podspy-collector in podspy
};

struct spy_tls;
// The options are borrowed until spy_tls_free. SPY_ERR_INVALID: a file is not PEM, the files are not
// a pair or not for servers, or stored certificates are damaged; other errors as in kubeapi.h. An
// unreachable API server is retried for SPY_TLS_PATIENCE_SECS.
enum { SPY_TLS_PATIENCE_SECS = 20, SPY_TLS_REFRESH_SECS = 60 };
int spy_tls_new(const struct spy_tls_options *options, struct spy_tls **ret, struct spy_err *err);
// Reads the certificates again, renews those about to expire, and publishes the CA. To be called
// every SPY_TLS_REFRESH_SECS; new connections get the new certificate. On failure the old one stays.
int spy_tls_refresh(struct spy_tls *t, struct spy_err *err);
void spy_tls_free(struct spy_tls *t);

// The certificate for a new connection; valid until spy_tls_free. arg: the struct spy_tls.
void spy_tls_current(void *arg, gnutls_pcert_st **ret_chain, unsigned *ret_n,
                     gnutls_privkey_t *ret_key);
