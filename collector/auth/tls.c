#include "collector/auth/tls.h"
#include "collector/auth/cert.h"
#include "collector/auth/secret.h"
#include "shared/base/clock.h"
#include "shared/base/file.h"
#include "shared/base/log.h"
#include "shared/base/mem.h"
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PEM_MAX = 1 << 20, CHAIN_MAX = 8 };

// A certificate in GnuTLS's form. A handshake may still use it after it was replaced, so all are kept
// until the end; there are few.
struct shown {
    gnutls_pcert_st chain[CHAIN_MAX];
    unsigned n;
    gnutls_privkey_t key;
    uint8_t id[32]; // the hash of its PEM texts
    struct shown *older;
};

struct spy_tls {
    struct spy_tls_options o;
    struct spy_cert_names names;
    struct shown *current; // written atomically
    char *ca;              // last written to the data folder, with a Secret
};

static int read_pem(const char *path, char **ret, struct spy_err *err)
{
    struct spy_buf b = SPY_BUF_INIT(PEM_MAX);
    int r = spy_file_read(AT_FDCWD, path, &b, err);
    if (r == 0 && !strstr(spy_buf_str(&b), "-----BEGIN "))
        r = spy_err_set(err, SPY_ERR_INVALID, 0, "%s is not a PEM file", path);
    if (r < 0)
        spy_buf_free(&b);
    else
        *ret = (char *)b.data;
    return r;
}

// --- what is shown ---

static void shown_free(struct shown *s)
{
    for (unsigned i = 0; i < s->n; i++)
        gnutls_pcert_deinit(&s->chain[i]);
    if (s->key)
        gnutls_privkey_deinit(s->key);
    free(s);
}

static bool is_pair(const struct shown *s)
{
    uint8_t a[64], b[64];
    size_t a_len = sizeof a, b_len = sizeof b;
    gnutls_pubkey_t public = NULL;
    bool ok =
        gnutls_pubkey_init(&public) == 0 &&
        gnutls_pubkey_import_privkey(public, s->key, 0, 0) == 0 &&
        gnutls_pubkey_get_key_id(public, GNUTLS_KEYID_USE_SHA256, a, &a_len) == 0 &&
        gnutls_pubkey_get_key_id(s->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, b, &b_len) == 0 &&
        a_len == b_len && memcmp(a, b, a_len) == 0;
    if (public)
        gnutls_pubkey_deinit(public);
    return ok;
}

static bool import_pems(struct shown *s, const struct spy_pems *pems)
{
    gnutls_datum_t c = {(unsigned char *)pems->crt, (unsigned)strlen(pems->crt)};
    gnutls_datum_t k = {(unsigned char *)pems->key, (unsigned)strlen(pems->key)};
    unsigned n = CHAIN_MAX;
    if (gnutls_pcert_list_import_x509_raw(s->chain, &n, &c, GNUTLS_X509_FMT_PEM, 0) < 0)
        return false;
    s->n = n;
    return n && gnutls_privkey_init(&s->key) == 0 &&
           gnutls_privkey_import_x509_raw(s->key, &k, GNUTLS_X509_FMT_PEM, NULL, 0) == 0 &&
           is_pair(s);
}

// Agents refuse a certificate that names purposes without this one.
static bool is_server_certificate(const struct shown *s)
{
    gnutls_x509_crt_t crt = NULL;
    bool ok = gnutls_x509_crt_init(&crt) == 0 &&
              gnutls_x509_crt_import(crt, &s->chain[0].cert, GNUTLS_X509_FMT_DER) == 0 &&
              gnutls_x509_crt_check_key_purpose(crt, GNUTLS_KP_TLS_WWW_SERVER, 0);
    if (crt)
        gnutls_x509_crt_deinit(crt);
    return ok;
}

static bool hash_pems(const struct spy_pems *pems, uint8_t id[32])
{
    gnutls_hash_hd_t h;
    if (gnutls_hash_init(&h, GNUTLS_DIG_SHA256) < 0)
        return false;
    bool ok = gnutls_hash(h, pems->crt, strlen(pems->crt) + 1) == 0 && // the NUL separates the two
              gnutls_hash(h, pems->key, strlen(pems->key)) == 0;
    gnutls_hash_deinit(h, id);
    return ok;
}

static int show_certificate(struct spy_tls *t, const struct spy_pems *pems, struct spy_err *err)
{
    struct shown *s = calloc(1, sizeof *s);
    if (!s || !hash_pems(pems, s->id)) {
        free(s);
        return spy_err_nomem(err);
    }
    s->older = t->current;
    if (s->older && !memcmp(s->id, s->older->id, sizeof s->id)) {
        shown_free(s); // unchanged
        return 0;
    }
    const char *fault = !import_pems(s, pems)       ? "are certificate and key a pair?"
                        : !is_server_certificate(s) ? "its extended key usage lacks serverAuth"
                                                    : NULL;
    if (fault) {
        shown_free(s);
        return spy_err_set(err, SPY_ERR_INVALID, 0, "the certificate cannot be used: %s", fault);
    }
    if (s->older)
        spy_log(SPY_LOG_INFO, "new connections get a renewed certificate");
    __atomic_store_n(&t->current, s, __ATOMIC_RELEASE);
    return 0;
}

void spy_tls_current(void *arg, gnutls_pcert_st **ret_chain, unsigned *ret_n,
                     gnutls_privkey_t *ret_key)
{
    struct spy_tls *t = arg;
    struct shown *s = __atomic_load_n(&t->current, __ATOMIC_ACQUIRE);
    *ret_chain = s->chain;
    *ret_n = s->n;
    *ret_key = s->key;
}

// --- given files ---

static int load_files(const struct spy_tls *t, struct spy_pems *ret, struct spy_err *err)
{
    int r = read_pem(t->o.cert_file, &ret->crt, err);
    return r < 0 ? r : read_pem(t->o.key_file, &ret->key, err);
}

// --- the data folder ---

static bool path_in(const char *dir, const char *name, char *path)
{
    return snprintf(path, PATH_MAX, "%s/%s", dir, name) < PATH_MAX;
}

static int write_pair(const struct spy_pair *p, const char *crt_path, const char *key_path,
                      struct spy_err *err)
{
    _cleanup_(spy_pems_done) struct spy_pems pems = {0};
    int r = spy_pair_export(p, &pems, err);
    if (r == 0)
        r = spy_file_write_atomic(key_path, pems.key, strlen(pems.key), 0600, err);
    return r < 0 ? r : spy_file_write_atomic(crt_path, pems.crt, strlen(pems.crt), 0600, err);
}

static int load_pair(const char *crt_path, const char *key_path, struct spy_pair *p)
{
    _cleanup_(spy_pems_done) struct spy_pems pems = {0};
    if (read_pem(crt_path, &pems.crt, NULL) < 0 || read_pem(key_path, &pems.key, NULL) < 0)
        return SPY_ERR_NOTFOUND;
    return spy_pair_import(pems.crt, pems.key, p);
}

static int ensure_folder_ca(const char *crt_path, const char *key_path, struct spy_pair *ca,
                            struct spy_err *err)
{
    int r = load_pair(crt_path, key_path, ca);
    // Agents trust the ca.pem that exists: only those who run the collector may replace it. A key
    // alone is left by a first start that was interrupted.
    if (r < 0 && access(crt_path, F_OK) == 0)
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "%s or ca.key is damaged or missing: restore both, or remove both to "
                           "make new ones",
                           crt_path);
    if (r == 0 && spy_cert_ca_serves(ca))
        return 0;
    spy_pair_done(ca);
    r = spy_pair_init(ca, err);
    if (r == 0)
        r = spy_cert_make_ca(ca, err);
    return r < 0 ? r : write_pair(ca, crt_path, key_path, err);
}

static int load_folder(const struct spy_tls *t, struct spy_pems *ret, struct spy_err *err)
{
    const char *dir = t->o.dir;
    char ca_crt[PATH_MAX], ca_key[PATH_MAX], crt[PATH_MAX], key[PATH_MAX];
    _cleanup_(spy_pair_done) struct spy_pair ca = {0}, server = {0}, fresh = {0};
    if (!path_in(dir, "ca.pem", ca_crt) || !path_in(dir, "ca.key", ca_key) ||
        !path_in(dir, "server.pem", crt) || !path_in(dir, "server.key", key))
        return spy_err_set(err, SPY_ERR_INVALID, 0, "the data folder's path is too long");
    if (spy_pair_init(&ca, err) < 0 || spy_pair_init(&server, err) < 0 ||
        spy_pair_init(&fresh, err) < 0)
        return SPY_ERR_NOMEM;
    int r = ensure_folder_ca(ca_crt, ca_key, &ca, err);
    if (r == 0 &&
        (load_pair(crt, key, &server) < 0 || !spy_cert_server_serves(&server, &ca, &t->names))) {
        r = spy_cert_make_server(&ca, &t->names, &fresh, err);
        if (r == 0)
            r = write_pair(&fresh, crt, key, err);
    }
    if (r == 0)
        r = read_pem(crt, &ret->crt, err);
    return r < 0 ? r : read_pem(key, &ret->key, err);
}

// --- the Secret ---

// For people inside of the pod; agents read the ConfigMap.
static void keep_ca(struct spy_tls *t, char *ca)
{
    char path[PATH_MAX];
    bool known = t->ca && !strcmp(t->ca, ca);
    if (!known && path_in(t->o.dir, "ca.pem", path))
        spy_file_write_atomic(path, ca, strlen(ca), 0600, NULL);
    free(t->ca);
    t->ca = ca;
}

static int load_secret(struct spy_tls *t, struct spy_pems *ret, struct spy_err *err)
{
    struct spy_secret s = {
        .kube = t->o.kube, .secret = t->o.secret, .config_map = t->o.config_map, .names = t->names};
    char *ca = NULL;
    int r = spy_secret_load(&s, ret, &ca, err);
    if (r < 0)
        return r;
    keep_ca(t, ca);
    struct spy_err why = {0};
    if (t->o.config_map && spy_secret_publish(&s, t->ca, &why) < 0)
        spy_log(SPY_LOG_ERROR, "cannot publish the CA certificate to the agents",
                SPY_S("error", why.msg));
    return 0;
}

// --- from the start to the end ---

int spy_tls_refresh(struct spy_tls *t, struct spy_err *err)
{
    _cleanup_(spy_pems_done) struct spy_pems pems = {0};
    int r = t->o.cert_file ? load_files(t, &pems, err)
            : t->o.secret  ? load_secret(t, &pems, err)
                           : load_folder(t, &pems, err);
    return r < 0 ? r : show_certificate(t, &pems, err);
}

static int load_first(struct spy_tls *t, struct spy_err *err)
{
    uint64_t until = spy_clock_mono_ns() + SPY_TLS_PATIENCE_SECS * SPY_NS_PER_SEC;
    int r = spy_tls_refresh(t, err);
    while (t->o.secret && r == SPY_ERR_AGAIN && spy_clock_mono_ns() < until) {
        spy_clock_sleep_until(spy_clock_mono_ns() + SPY_NS_PER_SEC);
        r = spy_tls_refresh(t, err);
    }
    return r;
}

int spy_tls_new(const struct spy_tls_options *options, struct spy_tls **ret, struct spy_err *err)
{
    struct spy_tls *t = calloc(1, sizeof *t);
    if (!t)
        return spy_err_nomem(err);
    t->o = *options;
    t->names = (struct spy_cert_names){
        .service = options->service ? options->service : "podspy-collector",
        .name_space = options->name_space ? options->name_space : "podspy",
        .host = !options->secret, // replicas share a certificate
    };
    int r = load_first(t, err);
    if (r < 0)
        spy_tls_free(t);
    else
        *ret = t;
    return r;
}

void spy_tls_free(struct spy_tls *t)
{
    if (!t)
        return;
    while (t->current) {
        struct shown *s = t->current;
        t->current = s->older;
        shown_free(s);
    }
    free(t->ca);
    free(t);
}
