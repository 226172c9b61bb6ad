#include "collector/auth/tls.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PEM_MAX = 1 << 20, CA_DAYS = 3650, SERVER_DAYS = 365, RENEW_DAYS = 60, DAY = 86400 };

static int tls_failed(struct spy_err *err, const char *what, int code)
{
    return spy_err_set(err, SPY_ERR_IO, 0, "%s: %s", what, gnutls_strerror(code));
}

static int read_pem(const char *path, char **ret, struct spy_err *err)
{
    struct spy_buf b = SPY_BUF_INIT(PEM_MAX);
    int r = spy_file_read(AT_FDCWD, path, &b, err);
    if (r == 0 && !strstr(spy_buf_str(&b), "-----BEGIN "))
        r = spy_err_set(err, SPY_ERR_INVALID, 0, "%s is no PEM file", path);
    if (r < 0)
        spy_buf_free(&b);
    else
        *ret = (char *)b.data;
    return r;
}

// --- a certificate with its key ---

struct pair {
    gnutls_x509_crt_t crt;
    gnutls_x509_privkey_t key;
};

static void pair_done(struct pair *p)
{
    if (p->crt)
        gnutls_x509_crt_deinit(p->crt);
    if (p->key)
        gnutls_x509_privkey_deinit(p->key);
}

static int pair_init(struct pair *p)
{
    int r = gnutls_x509_crt_init(&p->crt);
    return r < 0 ? r : gnutls_x509_privkey_init(&p->key);
}

static int import_pair(const char *crt_pem, const char *key_pem, struct pair *p)
{
    gnutls_datum_t c = {(unsigned char *)(uintptr_t)crt_pem, (unsigned)strlen(crt_pem)};
    gnutls_datum_t k = {(unsigned char *)(uintptr_t)key_pem, (unsigned)strlen(key_pem)};
    int r = gnutls_x509_crt_import(p->crt, &c, GNUTLS_X509_FMT_PEM);
    return r < 0 ? r : gnutls_x509_privkey_import(p->key, &k, GNUTLS_X509_FMT_PEM);
}

static int fill_common(struct pair *p, const char *name, int days)
{
    uint8_t serial[16];
    time_t now = time(NULL);
    int r = gnutls_x509_privkey_generate(p->key, GNUTLS_PK_ECDSA,
                                         GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    if (r >= 0)
        r = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof serial);
    serial[0] &= 0x7f; // a positive number
    if (r >= 0)
        r = gnutls_x509_crt_set_serial(p->crt, serial, sizeof serial);
    if (r >= 0)
        r = gnutls_x509_crt_set_version(p->crt, 3);
    if (r >= 0)
        r = gnutls_x509_crt_set_key(p->crt, p->key);
    if (r >= 0)
        r = gnutls_x509_crt_set_activation_time(p->crt, now - DAY);
    if (r >= 0)
        r = gnutls_x509_crt_set_expiration_time(p->crt, now + (time_t)days * DAY);
    if (r >= 0)
        r = gnutls_x509_crt_set_dn_by_oid(p->crt, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                          (unsigned)strlen(name));
    return r;
}

// RFC 5280 asks for key identifiers (4.2.1.1, 4.2.1.2), and strict clients, such as Python's ssl
// from 3.13 on, refuse a chain without.
static int add_key_ids(struct pair *p, const struct pair *issuer)
{
    uint8_t own[64], above[64];
    size_t own_len = sizeof own, above_len = sizeof above;
    int r = gnutls_x509_crt_get_key_id(p->crt, 0, own, &own_len);
    if (r >= 0)
        r = gnutls_x509_crt_set_subject_key_id(p->crt, own, own_len);
    if (r >= 0)
        r = gnutls_x509_crt_get_key_id(issuer->crt, 0, above, &above_len);
    return r < 0 ? r : gnutls_x509_crt_set_authority_key_id(p->crt, above, above_len);
}

static int make_ca(struct pair *ca)
{
    int r = fill_common(ca, "podspy collector CA", CA_DAYS);
    if (r >= 0)
        r = gnutls_x509_crt_set_basic_constraints(ca->crt, 1, 0);
    if (r >= 0)
        r = gnutls_x509_crt_set_key_usage(ca->crt, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN);
    if (r >= 0)
        r = add_key_ids(ca, ca);
    return r < 0 ? r : gnutls_x509_crt_sign2(ca->crt, ca->crt, ca->key, GNUTLS_DIG_SHA256, 0);
}

static int add_names(gnutls_x509_crt_t crt)
{
    char host[HOST_NAME_MAX + 1] = "";
    static const char *const names[] = {"localhost",
                                        "podspy-collector",
                                        "podspy-collector.podspy",
                                        "podspy-collector.podspy.svc",
                                        "podspy-collector.podspy.svc.cluster.local",
                                        "collector"};
    const uint8_t v4[4] = {127, 0, 0, 1}, v6[16] = {[15] = 1};
    int r = 0;
    for (size_t i = 0; i < SPY_COUNT(names) && r >= 0; i++)
        r = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, names[i],
                                                 (unsigned)strlen(names[i]), GNUTLS_FSAN_APPEND);
    if (r >= 0 && gethostname(host, sizeof host - 1) == 0 && *host)
        r = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, host,
                                                 (unsigned)strlen(host), GNUTLS_FSAN_APPEND);
    if (r >= 0)
        r = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, v4, sizeof v4,
                                                 GNUTLS_FSAN_APPEND);
    return r < 0 ? r
                 : gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, v6, sizeof v6,
                                                        GNUTLS_FSAN_APPEND);
}

static int make_server(const struct pair *ca, struct pair *server)
{
    int r = fill_common(server, "podspy collector", SERVER_DAYS);
    if (r >= 0)
        r = add_names(server->crt);
    if (r >= 0)
        r = gnutls_x509_crt_set_basic_constraints(server->crt, 0, -1);
    if (r >= 0)
        r = gnutls_x509_crt_set_key_usage(server->crt, GNUTLS_KEY_DIGITAL_SIGNATURE);
    if (r >= 0)
        r = gnutls_x509_crt_set_key_purpose_oid(server->crt, GNUTLS_KP_TLS_WWW_SERVER, 0);
    if (r >= 0)
        r = add_key_ids(server, ca);
    return r < 0 ? r : gnutls_x509_crt_sign2(server->crt, ca->crt, ca->key, GNUTLS_DIG_SHA256, 0);
}

// --- files of the data folder ---

static int write_pair(const struct pair *p, const char *crt_path, const char *key_path,
                      struct spy_err *err)
{
    gnutls_datum_t crt = {0}, key = {0};
    int code = gnutls_x509_crt_export2(p->crt, GNUTLS_X509_FMT_PEM, &crt);
    if (code >= 0)
        code = gnutls_x509_privkey_export2_pkcs8(p->key, GNUTLS_X509_FMT_PEM, NULL,
                                                 GNUTLS_PKCS_PLAIN, &key);
    int r = code < 0 ? tls_failed(err, "cannot write a certificate", code) : 0;
    if (r == 0)
        r = spy_file_write_atomic(key_path, key.data, key.size, 0600, err);
    if (r == 0)
        r = spy_file_write_atomic(crt_path, crt.data, crt.size, 0600, err);
    gnutls_free(crt.data);
    gnutls_free(key.data);
    return r;
}

static int load_pair(const char *crt_path, const char *key_path, struct pair *p)
{
    _cleanup_free_ char *crt = NULL, *key = NULL;
    if (read_pem(crt_path, &crt, NULL) < 0 || read_pem(key_path, &key, NULL) < 0)
        return SPY_ERR_NOTFOUND;
    return import_pair(crt, key, p) < 0 ? SPY_ERR_INVALID : 0;
}

// A container started anew on the same data folder may have another name.
static bool bears_our_name(const struct pair *server)
{
    char host[HOST_NAME_MAX + 1] = "";
    return gethostname(host, sizeof host - 1) < 0 || !*host ||
           gnutls_x509_crt_check_hostname(server->crt, host);
}

static bool serves_long_enough(const struct pair *server, const struct pair *ca)
{
    unsigned status = 1;
    return bears_our_name(server) &&
           gnutls_x509_crt_get_expiration_time(server->crt) >
               time(NULL) + (time_t)RENEW_DAYS * DAY &&
           gnutls_x509_crt_verify(server->crt, &ca->crt, 1, 0, &status) == 0 && status == 0;
}

static int own_authority(const char *dir, char *crt, char *key, struct spy_err *err)
{
    char ca_crt[PATH_MAX], ca_key[PATH_MAX];
    _cleanup_(pair_done) struct pair ca = {0}, server = {0}, fresh = {0};
    if (snprintf(ca_crt, PATH_MAX, "%s/ca.pem", dir) >= PATH_MAX ||
        snprintf(ca_key, PATH_MAX, "%s/ca.key", dir) >= PATH_MAX ||
        snprintf(crt, PATH_MAX, "%s/server.pem", dir) >= PATH_MAX ||
        snprintf(key, PATH_MAX, "%s/server.key", dir) >= PATH_MAX)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "the data folder's path is too long");
    if (pair_init(&ca) < 0 || pair_init(&server) < 0 || pair_init(&fresh) < 0)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    int r = load_pair(ca_crt, ca_key, &ca);
    if (r == SPY_ERR_INVALID)
        return spy_err_set(err, r, 0,
                           "%s or ca.key is damaged: restore both, or remove both to make new ones",
                           ca_crt);
    if (r < 0) {
        int code = make_ca(&ca);
        r = code < 0 ? tls_failed(err, "cannot make a CA", code)
                     : write_pair(&ca, ca_crt, ca_key, err);
    }
    if (r < 0 || (load_pair(crt, key, &server) == 0 && serves_long_enough(&server, &ca)))
        return r;
    int code = make_server(&ca, &fresh);
    return code < 0 ? tls_failed(err, "cannot make a certificate", code)
                    : write_pair(&fresh, crt, key, err);
}

int spy_tls_load(const char *dir, const char *cert_file, const char *key_file,
                 const char *client_ca_file, struct spy_tls *ret, struct spy_err *err)
{
    char crt[PATH_MAX], key[PATH_MAX];
    struct spy_tls t = {0};
    int r = 0;
    if (!cert_file) {
        r = own_authority(dir, crt, key, err);
        cert_file = crt;
        key_file = key;
    }
    if (r == 0)
        r = read_pem(cert_file, &t.cert_pem, err);
    if (r == 0)
        r = read_pem(key_file, &t.key_pem, err);
    if (r == 0 && client_ca_file)
        r = read_pem(client_ca_file, &t.client_ca_pem, err);
    if (r < 0)
        spy_tls_free(&t);
    else
        *ret = t;
    return r;
}

void spy_tls_free(struct spy_tls *t)
{
    free(t->cert_pem);
    if (t->key_pem)
        explicit_bzero(t->key_pem, strlen(t->key_pem));
    free(t->key_pem);
    free(t->client_ca_pem);
    *t = (struct spy_tls){0};
}
