#include "collector/auth/cert.h"
#include "shared/base/mem.h"
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CA_DAYS = 3650, SERVER_DAYS = 365, RENEW_DAYS = 60, DAY = 86400 };

static int fail_gnutls(struct spy_err *err, const char *what, int code)
{
    return spy_err_set(err, SPY_ERR_IO, 0, "%s: %s", what, gnutls_strerror(code));
}

// --- a certificate with its key ---

// --- as memory and as text ---

int spy_pair_init(struct spy_pair *p, struct spy_err *err)
{
    *p = (struct spy_pair){0};
    if (gnutls_x509_crt_init(&p->crt) < 0 || gnutls_x509_privkey_init(&p->key) < 0)
        return spy_err_nomem(err);
    return 0;
}

void spy_pair_done(struct spy_pair *p)
{
    if (p->crt)
        gnutls_x509_crt_deinit(p->crt);
    if (p->key)
        gnutls_x509_privkey_deinit(p->key);
    *p = (struct spy_pair){0};
}

void spy_pems_done(struct spy_pems *p)
{
    if (p->key)
        explicit_bzero(p->key, strlen(p->key));
    free(p->crt);
    free(p->key);
    *p = (struct spy_pems){0};
}

static bool belong_together(const struct spy_pair *p)
{
    uint8_t a[64], b[64];
    size_t a_len = sizeof a, b_len = sizeof b;
    return gnutls_x509_crt_get_key_id(p->crt, GNUTLS_KEYID_USE_SHA256, a, &a_len) == 0 &&
           gnutls_x509_privkey_get_key_id(p->key, GNUTLS_KEYID_USE_SHA256, b, &b_len) == 0 &&
           a_len == b_len && memcmp(a, b, a_len) == 0;
}

int spy_pair_import(const char *crt_pem, const char *key_pem, struct spy_pair *p)
{
    gnutls_datum_t c = {(unsigned char *)(uintptr_t)crt_pem, (unsigned)strlen(crt_pem)};
    gnutls_datum_t k = {(unsigned char *)(uintptr_t)key_pem, (unsigned)strlen(key_pem)};
    return gnutls_x509_crt_import(p->crt, &c, GNUTLS_X509_FMT_PEM) == 0 &&
                   gnutls_x509_privkey_import(p->key, &k, GNUTLS_X509_FMT_PEM) == 0 &&
                   belong_together(p)
               ? 0
               : SPY_ERR_INVALID;
}

int spy_pair_export(const struct spy_pair *p, struct spy_pems *ret, struct spy_err *err)
{
    gnutls_datum_t crt = {0}, key = {0};
    int code = gnutls_x509_crt_export2(p->crt, GNUTLS_X509_FMT_PEM, &crt);
    if (code >= 0)
        code = gnutls_x509_privkey_export2_pkcs8(p->key, GNUTLS_X509_FMT_PEM, NULL,
                                                 GNUTLS_PKCS_PLAIN, &key);
    struct spy_pems out = {0};
    if (code >= 0) {
        out.crt = strndup((char *)crt.data, crt.size);
        out.key = strndup((char *)key.data, key.size);
        explicit_bzero(key.data, key.size);
    }
    gnutls_free(crt.data);
    gnutls_free(key.data);
    if (code < 0 || !out.crt || !out.key) {
        spy_pems_done(&out);
        return code < 0 ? fail_gnutls(err, "cannot write a certificate", code) : spy_err_nomem(err);
    }
    *ret = out;
    return 0;
}

// --- making ---

static int fill_common(struct spy_pair *p, const char *name, int days)
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

// RFC 5280 requires key identifiers (4.2.1.1, 4.2.1.2), and strict clients, such as Python's ssl
// from 3.13 on, refuse a chain without them.
static int add_key_ids(struct spy_pair *p, const struct spy_pair *issuer)
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

int spy_cert_make_ca(struct spy_pair *ca, struct spy_err *err)
{
    int r = fill_common(ca, "podspy collector CA", CA_DAYS);
    if (r >= 0)
        r = gnutls_x509_crt_set_basic_constraints(ca->crt, 1, 0);
    if (r >= 0)
        r = gnutls_x509_crt_set_key_usage(ca->crt, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN);
    if (r >= 0)
        r = add_key_ids(ca, ca);
    if (r >= 0)
        r = gnutls_x509_crt_sign2(ca->crt, ca->crt, ca->key, GNUTLS_DIG_SHA256, 0);
    return r < 0 ? fail_gnutls(err, "cannot make a CA", r) : 0;
}

static int add_name(gnutls_x509_crt_t crt, const char *name)
{
    return *name ? gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, name,
                                                        (unsigned)strlen(name), GNUTLS_FSAN_APPEND)
                 : 0;
}

// HOST.NAMESPACE.svc.cluster.local and its short forms inside of the cluster.
static int add_service_names(gnutls_x509_crt_t crt, const struct spy_cert_names *names)
{
    char text[256];
    static const char *const ends[] = {"", ".svc", ".svc.cluster.local"};
    int r = add_name(crt, names->service);
    for (size_t i = 0; i < SPY_COUNT(ends) && r >= 0; i++) {
        snprintf(text, sizeof text, "%s.%s%s", names->service, names->name_space, ends[i]);
        r = add_name(crt, text);
    }
    return r;
}

static void host_name(char *host, size_t size)
{
    if (gethostname(host, size - 1) < 0)
        *host = 0;
    host[size - 1] = 0;
}

static int add_names(gnutls_x509_crt_t crt, const struct spy_cert_names *names)
{
    char host[HOST_NAME_MAX + 1] = "";
    const uint8_t v4[4] = {127, 0, 0, 1}, v6[16] = {[15] = 1};
    int r = add_name(crt, "localhost");
    if (r >= 0)
        r = add_name(crt, "collector");
    if (r >= 0)
        r = add_service_names(crt, names);
    if (names->host)
        host_name(host, sizeof host);
    if (r >= 0)
        r = add_name(crt, host);
    if (r >= 0)
        r = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, v4, sizeof v4,
                                                 GNUTLS_FSAN_APPEND);
    return r < 0 ? r
                 : gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, v6, sizeof v6,
                                                        GNUTLS_FSAN_APPEND);
}

int spy_cert_make_server(const struct spy_pair *ca, const struct spy_cert_names *names,
                         struct spy_pair *server, struct spy_err *err)
{
    int r = fill_common(server, "podspy collector", SERVER_DAYS);
    if (r >= 0)
        r = add_names(server->crt, names);
    if (r >= 0)
        r = gnutls_x509_crt_set_basic_constraints(server->crt, 0, -1);
    if (r >= 0)
        r = gnutls_x509_crt_set_key_usage(server->crt, GNUTLS_KEY_DIGITAL_SIGNATURE);
    if (r >= 0)
        r = gnutls_x509_crt_set_key_purpose_oid(server->crt, GNUTLS_KP_TLS_WWW_SERVER, 0);
    if (r >= 0)
        r = add_key_ids(server, ca);
    if (r >= 0)
        r = gnutls_x509_crt_sign2(server->crt, ca->crt, ca->key, GNUTLS_DIG_SHA256, 0);
    return r < 0 ? fail_gnutls(err, "cannot make a certificate", r) : 0;
}

// --- telling whether it still does ---

static bool is_valid_for(const struct spy_pair *p, int days)
{
    return gnutls_x509_crt_get_expiration_time(p->crt) > time(NULL) + (time_t)days * DAY;
}

bool spy_cert_ca_serves(const struct spy_pair *ca)
{
    return gnutls_x509_crt_get_ca_status(ca->crt, NULL) > 0 && is_valid_for(ca, SERVER_DAYS + 1);
}

// A container that is restarted on the same data folder may have another name; so may a service.
static bool bears_names(const struct spy_pair *server, const struct spy_cert_names *names)
{
    char host[HOST_NAME_MAX + 1] = "", service[256];
    if (names->host)
        host_name(host, sizeof host);
    snprintf(service, sizeof service, "%s.%s.svc", names->service, names->name_space);
    return (!*host || gnutls_x509_crt_check_hostname(server->crt, host)) &&
           gnutls_x509_crt_check_hostname(server->crt, service);
}

bool spy_cert_server_serves(const struct spy_pair *server, const struct spy_pair *ca,
                            const struct spy_cert_names *names)
{
    unsigned status = 1;
    return is_valid_for(server, RENEW_DAYS) && bears_names(server, names) &&
           gnutls_x509_crt_verify(server->crt, &ca->crt, 1, 0, &status) == 0 && status == 0;
}
