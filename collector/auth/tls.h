// tls.h - the collector's own certificate authority, for where nobody gives it a certificate.
//
// In the data folder, mode 0600: ca.pem and ca.key (ECDSA P-256, ten years), server.pem and
// server.key (one year, made anew at a start with less than 60 days left, or when the CA or the
// host's name is another). The names in the certificate: localhost, 127.0.0.1, ::1, the host's
// name, collector, podspy-collector and its usual names as a Kubernetes service.
#pragma once
#include "shared/base/err.h"

struct spy_tls {
    char *cert_pem, *key_pem; // the server's; owned
    char *client_ca_pem;      // NULL: none
};

// cert_file and key_file NULL: the own authority. SPY_ERR_INVALID: a given file is no PEM.
int spy_tls_load(const char *dir, const char *cert_file, const char *key_file,
                 const char *client_ca_file, struct spy_tls *ret, struct spy_err *err);
void spy_tls_free(struct spy_tls *t);
