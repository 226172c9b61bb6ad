// clients.h - client certificates as credentials (auth.ingest or auth.read: mtls).
//
// The TLS session asks each client for a certificate and accepts any, or none. It is verified here
// against the authorities of tls.client_ca_file: its chain, its dates, its purpose (RFC 5280,
// 4.2.1.12: clientAuth if it names any) and the strength of its keys. Any thread.
#pragma once
#include "shared/base/err.h"
#include <stdbool.h>

struct spy_clients;
// ca_file is borrowed. SPY_ERR_INVALID: the file is not PEM with certificates.
int spy_clients_new(const char *ca_file, struct spy_clients **ret, struct spy_err *err);
void spy_clients_free(struct spy_clients *c);
// Reads the file again. On failure the previous authorities stay. *ret_changed: whether they are
// others now.
int spy_clients_refresh(struct spy_clients *c, bool *ret_changed, struct spy_err *err);
// session: a gnutls_session_t. Returns NULL if its certificate is accepted, else why not; static.
const char *spy_clients_fault(struct spy_clients *c, void *session);
