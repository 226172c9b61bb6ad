#include "collector/auth/secret.h"
#include "shared/base/clock.h"
#include "shared/base/log.h"
#include "shared/base/mem.h"
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 10, PEM_MAX = 64 << 10 };

// --- one object, read and written ---

static int print_path(const struct spy_secret *s, const char *kind, const char *name, char **ret,
                      struct spy_err *err)
{
    if (!*name || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != strlen(name))
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "'%s' is not the name of an object of Kubernetes", name);
    if (asprintf(ret, "/api/v1/namespaces/%s/%s/%s", s->names.name_space, kind, name) < 0) {
        *ret = NULL;
        return spy_err_nomem(err);
    }
    return 0;
}

static int explain_failure(int r, const char *kind, const char *name, struct spy_err *err)
{
    if (r == SPY_ERR_DENIED)
        return spy_err_context(err, r,
                               "the collector's account may not get and update %s %s: apply "
                               "deploy/k8s, whose Role names it",
                               kind, name);
    if (r == SPY_ERR_NOTFOUND)
        return spy_err_context(err, r, "there is no %s %s: apply deploy/k8s, which brings it", kind,
                               name);
    return spy_err_context(err, r, "%s %s", kind, name);
}

// Another replica wrote first: wait for a random time, so that replicas do not collide again.
static void wait_for_others(void)
{
    struct spy_rand rand = {0};
    spy_clock_sleep_until(spy_clock_mono_ns() +
                          (uint64_t)((10 + 190 * spy_rand_unit(&rand)) * SPY_NS_PER_MS));
}

// Brings the object's data up to date; *ret_changed: whether it must be written.
typedef int (*fill_fn)(json_t *data, void *arg, bool *ret_changed, struct spy_err *err);

static int update_once(const struct spy_secret *s, const char *path, fill_fn fill, void *arg,
                       struct spy_err *err)
{
    json_t *root = NULL;
    bool changed = false;
    int r = spy_kubeapi_call(s->kube, "GET", path, NULL, &root, err);
    if (r < 0)
        return r;
    json_t *data = json_object_get(root, "data");
    if (!json_is_object(data)) {
        data = json_object();
        if (json_object_set_new(root, "data", data) < 0)
            r = spy_err_nomem(err);
    }
    if (r == 0)
        r = fill(data, arg, &changed, err);
    if (r == 0 && changed)
        r = spy_kubeapi_call(s->kube, "PUT", path, root, NULL, err); // with its resourceVersion
    json_decref(root);
    return r;
}

static int update_object(const struct spy_secret *s, const char *kind, const char *name,
                         fill_fn fill, void *arg, struct spy_err *err)
{
    _cleanup_free_ char *path = NULL;
    int r = print_path(s, kind, name, &path, err);
    if (r == 0)
        r = update_once(s, path, fill, arg, err);
    for (int i = 1; i < TRIES && r == SPY_ERR_TORN; i++) {
        wait_for_others();
        r = update_once(s, path, fill, arg, err);
    }
    return r < 0 ? explain_failure(r, kind, name, err) : 0;
}

// --- the Secret ---

// *ret: NULL if the key is absent. False: the value is not the base64 of a text.
static bool get_text(const json_t *data, const char *key, char **ret)
{
    const json_t *value = json_object_get(data, key);
    size_t len = json_string_length(value);
    *ret = NULL;
    if (!value || (json_is_string(value) && !len))
        return true;
    gnutls_datum_t in = {(unsigned char *)(uintptr_t)json_string_value(value), (unsigned)len};
    gnutls_datum_t out = {0};
    if (!in.data || len > PEM_MAX || gnutls_base64_decode2(&in, &out) < 0)
        return false;
    *ret = strndup((char *)out.data, out.size);
    explicit_bzero(out.data, out.size);
    gnutls_free(out.data);
    return *ret;
}

static int set_text(json_t *data, const char *key, const char *text, struct spy_err *err)
{
    gnutls_datum_t in = {(unsigned char *)(uintptr_t)text, (unsigned)strlen(text)}, out = {0};
    int r = gnutls_base64_encode2(&in, &out) < 0 ||
            json_object_set_new(data, key, json_stringn((char *)out.data, out.size)) < 0;
    gnutls_free(out.data);
    return r ? spy_err_nomem(err) : 0;
}

static int set_pair(json_t *data, const char *crt_key, const char *key_key,
                    const struct spy_pair *p, struct spy_err *err)
{
    _cleanup_(spy_pems_done) struct spy_pems pems = {0};
    int r = spy_pair_export(p, &pems, err);
    if (r == 0)
        r = set_text(data, crt_key, pems.crt, err);
    return r < 0 ? r : set_text(data, key_key, pems.key, err);
}

// A new authority would lock out every agent that trusts the old one. So one is made only if there is
// none, and people must repair a damaged one.
static int ensure_ca(json_t *data, struct spy_pair *ca, bool *changed, struct spy_err *err)
{
    _cleanup_(spy_pems_done) struct spy_pems pems = {0};
    bool read = get_text(data, "ca.crt", &pems.crt) && get_text(data, "ca.key", &pems.key);
    bool none = read && !pems.crt && !pems.key;
    if (!none && (!read || !pems.crt || !pems.key || spy_pair_import(pems.crt, pems.key, ca) < 0))
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "ca.crt or ca.key is damaged: restore both, or remove both from it to "
                           "have new ones made");
    if (!none && spy_cert_ca_serves(ca))
        return 0;
    spy_pair_done(ca);
    int r = spy_pair_init(ca, err);
    if (r == 0)
        r = spy_cert_make_ca(ca, err);
    *changed = true;
    return r < 0 ? r : set_pair(data, "ca.crt", "ca.key", ca, err);
}

static int ensure_server(json_t *data, const struct spy_pair *ca,
                         const struct spy_cert_names *names, bool *changed, struct spy_err *err)
{
    _cleanup_(spy_pems_done) struct spy_pems pems = {0};
    _cleanup_(spy_pair_done) struct spy_pair old = {0}, fresh = {0};
    if (spy_pair_init(&old, err) < 0 || spy_pair_init(&fresh, err) < 0)
        return SPY_ERR_NOMEM;
    if (get_text(data, "tls.crt", &pems.crt) && get_text(data, "tls.key", &pems.key) && pems.crt &&
        pems.key && spy_pair_import(pems.crt, pems.key, &old) == 0 &&
        spy_cert_server_serves(&old, ca, names))
        return 0;
    *changed = true;
    int r = spy_cert_make_server(ca, names, &fresh, err);
    return r < 0 ? r : set_pair(data, "tls.crt", "tls.key", &fresh, err);
}

struct taken {
    const struct spy_cert_names *names;
    struct spy_pems server;
    char *ca;
};

static int fill_secret(json_t *data, void *arg, bool *changed, struct spy_err *err)
{
    struct taken *t = arg;
    _cleanup_(spy_pair_done) struct spy_pair ca = {0};
    spy_pems_done(&t->server);
    free(t->ca);
    t->ca = NULL;
    int r = spy_pair_init(&ca, err);
    if (r == 0)
        r = ensure_ca(data, &ca, changed, err);
    if (r == 0)
        r = ensure_server(data, &ca, t->names, changed, err);
    if (r == 0 && !(get_text(data, "ca.crt", &t->ca) && get_text(data, "tls.crt", &t->server.crt) &&
                    get_text(data, "tls.key", &t->server.key)))
        r = spy_err_nomem(err);
    return r;
}

int spy_secret_load(const struct spy_secret *s, struct spy_pems *ret_server, char **ret_ca,
                    struct spy_err *err)
{
    struct taken t = {.names = &s->names};
    int r = update_object(s, "secrets", s->secret, fill_secret, &t, err);
    if (r < 0) {
        spy_pems_done(&t.server);
        free(t.ca);
        return r;
    }
    *ret_server = t.server;
    *ret_ca = t.ca;
    return 0;
}

// --- the ConfigMap ---

static int fill_config_map(json_t *data, void *arg, bool *changed, struct spy_err *err)
{
    const char *there = json_string_value(json_object_get(data, "ca.crt"));
    *changed = !there || strcmp(there, arg) != 0;
    if (*changed && json_object_set_new(data, "ca.crt", json_string(arg)) < 0)
        return spy_err_nomem(err);
    if (*changed)
        spy_log(SPY_LOG_INFO, "publishing the CA certificate");
    return 0;
}

int spy_secret_publish(const struct spy_secret *s, const char *ca, struct spy_err *err)
{
    return update_object(s, "configmaps", s->config_map, fill_config_map, (void *)(uintptr_t)ca,
                         err);
}
