#include "collector/config/collector_config.h"
#include "shared/base/mem.h"
#include "shared/config/schema.h"

#define AT(member) .offset = offsetof(struct spy_collector_config, member)

static const char *const auth_names[] = {"token", "mtls", "kubernetes", NULL}; // SPY_AUTH_ bits
static const char *const store_names[] = {"sqlite", NULL};

static const struct spy_key listen_keys[] = {
    {.name = "https", .type = SPY_KEY_STRING, AT(listen.https), .fallback = "0.0.0.0:8443"},
    {.name = "http", .type = SPY_KEY_STRING, AT(listen.http), .fallback = "127.0.0.1:8080"},
    {0},
};
static const struct spy_key tls_keys[] = {
    {.name = "cert_file", .type = SPY_KEY_STRING, AT(tls.cert_file)},
    {.name = "key_file", .type = SPY_KEY_STRING, AT(tls.key_file)},
    {.name = "client_ca_file", .type = SPY_KEY_STRING, AT(tls.client_ca_file)},
    {.name = "secret", .type = SPY_KEY_STRING, AT(tls.secret)},
    {.name = "config_map", .type = SPY_KEY_STRING, AT(tls.config_map)},
    {0},
};
static const struct spy_key kubernetes_keys[] = {
    {.name = "audience",
     .type = SPY_KEY_STRING,
     AT(auth.kubernetes.audience),
     .fallback = "podspy-collector"},
    {.name = "agent", .type = SPY_KEY_STRING, AT(auth.kubernetes.agent)},
    {.name = "service",
     .type = SPY_KEY_STRING,
     AT(auth.kubernetes.service),
     .fallback = "podspy-collector"},
    {.name = "url", .type = SPY_KEY_STRING, AT(auth.kubernetes.url)},
    {.name = "ca_file", .type = SPY_KEY_STRING, AT(auth.kubernetes.ca_file)},
    {.name = "token_file", .type = SPY_KEY_STRING, AT(auth.kubernetes.token_file)},
    {.name = "namespace", .type = SPY_KEY_STRING, AT(auth.kubernetes.name_space)},
    {0},
};
static const struct spy_key auth_keys[] = {
    {.name = "ingest",
     .type = SPY_KEY_FLAGS,
     AT(auth.ingest),
     .fallback = "token",
     .names = auth_names},
    {.name = "read",
     .type = SPY_KEY_FLAGS,
     AT(auth.read),
     .fallback = "token",
     .names = auth_names},
    {.name = "kubernetes", .type = SPY_KEY_MAP, .fields = kubernetes_keys},
    {0},
};
static const struct spy_key store_keys[] = {
    {.name = "kind",
     .type = SPY_KEY_ENUM,
     AT(store.kind),
     .fallback = "sqlite",
     .names = store_names},
    {.name = "dir", .type = SPY_KEY_STRING, AT(store.dir), .fallback = "/var/lib/podspy-collector"},
    {.name = "url", .type = SPY_KEY_NO_EFFECT},
    {.name = "database", .type = SPY_KEY_NO_EFFECT},
    {.name = "user", .type = SPY_KEY_NO_EFFECT},
    {.name = "password_file", .type = SPY_KEY_NO_EFFECT},
    {0},
};
#define YEARS (20.0 * 365 * 86400e9)
static const struct spy_key retention_keys[] = {
    {.name = "raw",
     .type = SPY_KEY_DURATION,
     AT(retention.raw_ns),
     .fallback = "24h",
     .min = 60e9,
     .max = YEARS},
    {.name = "minutes", .type = SPY_KEY_NO_EFFECT},
    {.name = "hours", .type = SPY_KEY_NO_EFFECT},
    {.name = "max_gib",
     .type = SPY_KEY_UINT,
     AT(retention.max_gib),
     .fallback = "50",
     .min = 1,
     .max = 1e6},
    {0},
};
static const struct spy_key limits_keys[] = {
    {.name = "body_mib",
     .type = SPY_KEY_UINT,
     AT(limits.body_mib),
     .fallback = "16",
     .min = 1,
     .max = 256},
    {.name = "agents",
     .type = SPY_KEY_UINT,
     AT(limits.agents),
     .fallback = "10000",
     .min = 1,
     .max = 1e6},
    {.name = "series",
     .type = SPY_KEY_UINT,
     AT(limits.series),
     .fallback = "1000000",
     .min = 1,
     .max = 1e8},
    {.name = "connections_per_ip",
     .type = SPY_KEY_UINT,
     AT(limits.connections_per_ip),
     .fallback = "256",
     .min = 1,
     .max = 65536},
    {.name = "agent_mib_per_minute",
     .type = SPY_KEY_UINT,
     AT(limits.agent_mib_per_minute),
     .fallback = "256",
     .min = 0,
     .max = 1e6},
    {.name = "memory_mib",
     .type = SPY_KEY_UINT,
     AT(limits.memory_mib),
     .fallback = "0",
     .min = 0,
     .max = 1 << 22},
    {0},
};
static const struct spy_key collector_config_keys[] = {
    {.name = "listen", .type = SPY_KEY_MAP, .fields = listen_keys},
    {.name = "tls", .type = SPY_KEY_MAP, .fields = tls_keys},
    {.name = "auth", .type = SPY_KEY_MAP, .fields = auth_keys},
    {.name = "store", .type = SPY_KEY_MAP, .fields = store_keys},
    {.name = "retention", .type = SPY_KEY_MAP, .fields = retention_keys},
    {.name = "limits", .type = SPY_KEY_MAP, .fields = limits_keys},
    {0},
};

static int check_collector_config(const char *name, struct spy_collector_config *c,
                                  struct spy_err *err)
{
    int r = 0;
    if (!c->tls.cert_file != !c->tls.key_file)
        r = spy_err_set(err, SPY_ERR_INVALID, 0, "%s: tls.cert_file and tls.key_file go together",
                        name);
    else if (c->tls.cert_file && c->tls.secret)
        r = spy_err_set(err, SPY_ERR_INVALID, 0,
                        "%s: tls.secret is for certificates that the collector makes: leave out "
                        "either tls.cert_file or tls.secret",
                        name);
    else if (c->tls.config_map && !c->tls.secret)
        r = spy_err_set(err, SPY_ERR_INVALID, 0, "%s: tls.config_map needs tls.secret", name);
    else if ((c->auth.ingest | c->auth.read) & SPY_AUTH_MTLS && !c->tls.client_ca_file)
        r = spy_err_set(err, SPY_ERR_INVALID, 0, "%s: mtls in auth needs tls.client_ca_file", name);
    if (r < 0)
        spy_collector_config_free(c);
    return r;
}

int spy_collector_config_parse(const char *name, const char *text, size_t len,
                               struct spy_collector_config *ret, struct spy_err *err)
{
    struct spy_collector_config c = {0};
    int r = spy_schema_parse(collector_config_keys, name, text, len, &c, err);
    if (r == 0)
        r = check_collector_config(name, &c, err);
    if (r == 0)
        *ret = c;
    return r;
}

int spy_collector_config_load(const char *path, struct spy_collector_config *ret,
                              struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf text = SPY_BUF_INIT(SPY_SCHEMA_FILE_MAX);
    int r = path ? spy_schema_file(path, &text, err) : 0;
    if (r < 0)
        return r;
    return spy_collector_config_parse(path ? path : "defaults", spy_buf_str(&text), text.len, ret,
                                      err);
}

void spy_collector_config_free(struct spy_collector_config *c)
{
    spy_schema_release(collector_config_keys, c);
    *c = (struct spy_collector_config){0};
}
