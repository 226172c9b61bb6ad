#include "collector/auth/clients.h"
#include "shared/base/buf.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { PEM_MAX = 1 << 20, CHAIN_MAX = 8 };

struct spy_clients {
    const char *ca_file;
    pthread_rwlock_t lock; // of all below
    gnutls_x509_trust_list_t trust;
    struct spy_buf pem; // the text that trust was made from
};

// --- the authorities ---

static int make_trust(const char *path, const struct spy_buf *pem, gnutls_x509_trust_list_t *ret,
                      struct spy_err *err)
{
    gnutls_datum_t d = {pem->data, (unsigned)pem->len};
    gnutls_x509_trust_list_t t;
    if (gnutls_x509_trust_list_init(&t, 0) < 0)
        return spy_err_nomem(err);
    if (gnutls_x509_trust_list_add_trust_mem(t, &d, NULL, GNUTLS_X509_FMT_PEM, 0, 0) > 0) {
        *ret = t;
        return 0;
    }
    gnutls_x509_trust_list_deinit(t, 1);
    return spy_err_set(err, SPY_ERR_INVALID, 0, "%s is not a PEM file with certificates", path);
}

static bool is_same_authorities(const struct spy_buf *a, const struct spy_buf *b)
{
    return a->len == b->len && (!a->len || !memcmp(a->data, b->data, a->len));
}

int spy_clients_refresh(struct spy_clients *c, bool *ret_changed, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf pem = SPY_BUF_INIT(PEM_MAX);
    gnutls_x509_trust_list_t fresh = NULL, old;
    int r = spy_file_read(AT_FDCWD, c->ca_file, &pem, err);
    if (r < 0)
        return r;
    if (is_same_authorities(&pem, &c->pem)) { // only refreshes write c->pem, one at a time
        *ret_changed = false;
        return 0;
    }
    r = make_trust(c->ca_file, &pem, &fresh, err);
    if (r < 0)
        return r;
    pthread_rwlock_wrlock(&c->lock);
    old = c->trust;
    c->trust = fresh;
    struct spy_buf old_pem = c->pem;
    c->pem = pem;
    pem = old_pem;
    pthread_rwlock_unlock(&c->lock);
    if (old)
        gnutls_x509_trust_list_deinit(old, 1);
    *ret_changed = true;
    return 0;
}

int spy_clients_new(const char *ca_file, struct spy_clients **ret, struct spy_err *err)
{
    bool changed;
    struct spy_clients *c = calloc(1, sizeof *c);
    if (!c)
        return spy_err_nomem(err);
    c->ca_file = ca_file;
    c->pem = SPY_BUF_INIT(PEM_MAX);
    pthread_rwlock_init(&c->lock, NULL);
    int r = spy_clients_refresh(c, &changed, err);
    if (r == 0 && !c->trust)
        r = spy_err_set(err, SPY_ERR_INVALID, 0, "%s is empty", ca_file);
    if (r < 0)
        spy_clients_free(c);
    else
        *ret = c;
    return r;
}

void spy_clients_free(struct spy_clients *c)
{
    if (!c)
        return;
    if (c->trust)
        gnutls_x509_trust_list_deinit(c->trust, 1);
    spy_buf_free(&c->pem);
    pthread_rwlock_destroy(&c->lock);
    free(c);
}

// --- a client's certificate ---

// The first row that applies says the most.
static const char *find_certificate_fault(unsigned status)
{
    static const struct {
        unsigned bits;
        const char *why;
    } rows[] = {
        {GNUTLS_CERT_SIGNER_NOT_FOUND | GNUTLS_CERT_SIGNER_NOT_CA | GNUTLS_CERT_SIGNATURE_FAILURE |
             GNUTLS_CERT_SIGNER_CONSTRAINTS_FAILURE,
         "no authority in tls.client_ca_file vouches for the client certificate"},
        {GNUTLS_CERT_EXPIRED, "the client certificate, or an authority of it, has expired"},
        {GNUTLS_CERT_NOT_ACTIVATED,
         "the client certificate, or an authority of it, is not valid yet"},
        {GNUTLS_CERT_PURPOSE_MISMATCH,
         "the client certificate is not for clients: its extended key usage lacks clientAuth"},
        {GNUTLS_CERT_INSECURE_ALGORITHM,
         "the client certificate, or an authority of it, has a weak key or signature"},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++)
        if (status & rows[i].bits)
            return rows[i].why;
    return status ? "the client certificate cannot be verified" : NULL;
}

static const char *find_chain_fault(struct spy_clients *c, gnutls_x509_crt_t *chain, unsigned n)
{
    static char purpose[] = GNUTLS_KP_TLS_WWW_CLIENT;
    gnutls_typed_vdata_st data = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                  .data = (unsigned char *)purpose};
    unsigned status = GNUTLS_CERT_INVALID;
    unsigned flags = GNUTLS_PROFILE_TO_VFLAGS(GNUTLS_PROFILE_MEDIUM);
    pthread_rwlock_rdlock(&c->lock);
    int r = gnutls_x509_trust_list_verify_crt2(c->trust, chain, n, &data, 1, flags, &status, NULL);
    pthread_rwlock_unlock(&c->lock);
    return find_certificate_fault(r < 0 ? GNUTLS_CERT_INVALID : status);
}

const char *spy_clients_fault(struct spy_clients *c, void *session)
{
    unsigned n = 0, made = 0;
    gnutls_x509_crt_t chain[CHAIN_MAX];
    const gnutls_datum_t *peers = session && gnutls_certificate_type_get(session) == GNUTLS_CRT_X509
                                      ? gnutls_certificate_get_peers(session, &n)
                                      : NULL;
    if (!peers || !n)
        return "a client certificate that tls.client_ca_file vouches for is required";
    bool good = n <= CHAIN_MAX;
    while (good && made < n) {
        good = gnutls_x509_crt_init(&chain[made]) == 0;
        made += good;
        good = good &&
               gnutls_x509_crt_import(chain[made - 1], &peers[made - 1], GNUTLS_X509_FMT_DER) == 0;
    }
    const char *fault =
        good ? find_chain_fault(c, chain, n) : "the client certificate is malformed";
    while (made)
        gnutls_x509_crt_deinit(chain[--made]);
    return fault;
}
