// cert.h - makes the collector's own certificates and checks whether they can still be used.
// Inside of collector/auth.
//
// ECDSA P-256. The authority (CA) lasts ten years, a server certificate one; it is replaced when
// less than 60 days are left. A server certificate bears localhost, 127.0.0.1, ::1, collector,
// podspy-collector and the names of the Kubernetes service SERVICE in NAMESPACE; if it is kept for
// one machine, also that machine's name.
#pragma once
#include "shared/base/err.h"
#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <stdbool.h>

struct spy_pair {
    gnutls_x509_crt_t crt;
    gnutls_x509_privkey_t key;
};

struct spy_cert_names {
    const char *service, *name_space; // of the Kubernetes service
    bool host;                        // this machine's name
};

// PEM, owned; the keys are overwritten before they are freed.
struct spy_pems {
    char *crt, *key;
};

int spy_pair_init(struct spy_pair *p, struct spy_err *err); // empty
void spy_pair_done(struct spy_pair *p);
void spy_pems_done(struct spy_pems *p);

// SPY_ERR_INVALID: not PEM, or the key is not the certificate's.
int spy_pair_import(const char *crt_pem, const char *key_pem, struct spy_pair *p);
int spy_pair_export(const struct spy_pair *p, struct spy_pems *ret, struct spy_err *err);

int spy_cert_make_ca(struct spy_pair *ca, struct spy_err *err);
int spy_cert_make_server(const struct spy_pair *ca, const struct spy_cert_names *names,
                         struct spy_pair *server, struct spy_err *err);
// Whether it is an authority that outlasts the certificates it is to sign.
bool spy_cert_ca_serves(const struct spy_pair *ca);
// Whether that authority signed it, with these names, and it lasts long enough.
bool spy_cert_server_serves(const struct spy_pair *server, const struct spy_pair *ca,
                            const struct spy_cert_names *names);
