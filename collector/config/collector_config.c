#include "collector/config/collector_config.h"
#include "shared/base/mem.h"
#include "shared/base/regex.h"
#include "shared/config/schema.h"

#define AT(member) offsetof(struct spy_collector_config, member)

static const char *const auth_names[] = {"token", "mtls", "kubernetes", NULL}; // SPY_AUTH_ bits
static const char *const store_names[] = {"sqlite", "clickhouse", NULL};

static const struct spy_key listen_keys[] = {
    SPY_TEXT("https", AT(listen.https), "0.0.0.0:8443"),
    SPY_TEXT("http", AT(listen.http), "127.0.0.1:8080"),
    {0},
};
static const struct spy_key tls_keys[] = {
    SPY_TEXT("cert_file", AT(tls.cert_file), NULL),
    SPY_TEXT("key_file", AT(tls.key_file), NULL),
    SPY_TEXT("client_ca_file", AT(tls.client_ca_file), NULL),
    SPY_TEXT("secret", AT(tls.secret), NULL),
    SPY_TEXT("config_map", AT(tls.config_map), NULL),
    {0},
};
static const struct spy_key kubernetes_keys[] = {
    SPY_TEXT("audience", AT(auth.kubernetes.audience), "podspy-collector"),
    SPY_TEXT("agent", AT(auth.kubernetes.agent), NULL),
    SPY_TEXT("service", AT(auth.kubernetes.service), "podspy-collector"),
    SPY_TEXT("url", AT(auth.kubernetes.url), NULL),
    SPY_TEXT("ca_file", AT(auth.kubernetes.ca_file), NULL),
    SPY_TEXT("token_file", AT(auth.kubernetes.token_file), NULL),
    SPY_TEXT("namespace", AT(auth.kubernetes.name_space), NULL),
    {0},
};
static const struct spy_key auth_keys[] = {
    SPY_CHOICES("ingest", AT(auth.ingest), "token", auth_names),
    SPY_CHOICES("read", AT(auth.read), "token", auth_names),
    SPY_MAP("kubernetes", kubernetes_keys),
    {0},
};
static const struct spy_key store_keys[] = {
    SPY_CHOICE("kind", AT(store.kind), "sqlite", store_names),
    SPY_TEXT("dir", AT(store.dir), "/var/lib/podspy-collector"),
    SPY_TEXT("url", AT(store.url), NULL),
    SPY_TEXT("database", AT(store.database), "podspy"),
    SPY_TEXT("user", AT(store.user), NULL),
    SPY_TEXT("password_file", AT(store.password_file), NULL),
    SPY_TEXT("ca_file", AT(store.ca_file), NULL),
    SPY_UINT("replicas", AT(store.replicas), "0", 0, 16),
    {0},
};
#define YEARS (20.0 * 365 * 86400e9)
static const struct spy_key retention_keys[] = {
    SPY_DURATION("raw", AT(retention.raw_ns), "24h", 60e9, YEARS),
    SPY_DURATION("minutes", AT(retention.minutes_ns), "7d", 60e9, YEARS),
    SPY_DURATION("hours", AT(retention.hours_ns), "90d", 0, YEARS),
    SPY_UINT("max_gib", AT(retention.max_gib), "50", 1, 1e6),
    {0},
};
static const struct spy_key limits_keys[] = {
    SPY_UINT("body_mib", AT(limits.body_mib), "16", 1, 256),
    SPY_UINT("agents", AT(limits.agents), "10000", 1, 1e6),
    SPY_UINT("series", AT(limits.series), "1000000", 1, 1e8),
    SPY_UINT("connections_per_ip", AT(limits.connections_per_ip), "256", 1, 65536),
    SPY_UINT("agent_mib_per_minute", AT(limits.agent_mib_per_minute), "256", 0, 1e6),
    SPY_UINT("memory_mib", AT(limits.memory_mib), "0", 0, 1 << 22),
    {0},
};
#define IN_ENTRY(member) offsetof(struct spy_entry_rule, member)
static const struct spy_key entry_keys[] = {
    SPY_TEXT("module", IN_ENTRY(module), NULL),
    SPY_TEXT("function", IN_ENTRY(function), NULL),
    {0},
};
static const struct spy_key collector_config_keys[] = {
    SPY_MAP("listen", listen_keys),
    SPY_MAP("tls", tls_keys),
    SPY_MAP("auth", auth_keys),
    SPY_MAP("store", store_keys),
    SPY_MAP("retention", retention_keys),
    SPY_MAP("limits", limits_keys),
    {.name = "entries",
     .type = SPY_KEY_LIST,
     .offset = AT(entries),
     .fields = entry_keys,
     .size = sizeof(struct spy_entry_rule),
     .count_offset = AT(n_entries),
     .line_offset = IN_ENTRY(line)},
    {0},
};

static int check_expression(const char *name, int line, const char *key, const char *text,
                            struct spy_err *err)
{
    struct spy_err why = {0};
    struct spy_regex *re;
    int r = spy_regex_new(text, &re, &why);
    if (r < 0)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "%s:%d: %s of entries: %s", name, line, key,
                           why.msg);
    spy_regex_free(re);
    return 0;
}

static int check_entries(const char *name, const struct spy_collector_config *c,
                         struct spy_err *err)
{
    int r = 0;
    if (c->n_entries > SPY_ENTRY_RULES_MAX)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "%s:%d: entries has more than %d rules", name,
                           c->entries[SPY_ENTRY_RULES_MAX].line, SPY_ENTRY_RULES_MAX);
    for (size_t i = 0; i < c->n_entries && r == 0; i++) {
        const struct spy_entry_rule *e = &c->entries[i];
        if (!e->module || !e->function)
            return spy_err_set(err, SPY_ERR_INVALID, 0,
                               "%s:%d: a rule of entries needs module and function, such as "
                               "{module: '^shop[.]bus$', function: '^deliver$'}",
                               name, e->line);
        r = check_expression(name, e->line, "module", e->module, err);
        if (r == 0)
            r = check_expression(name, e->line, "function", e->function, err);
    }
    return r;
}

static int check_store(const char *name, const struct spy_collector_config *c, struct spy_err *err)
{
    bool is_clickhouse = c->store.kind == SPY_STORE_CLICKHOUSE;
    if (is_clickhouse && !c->store.url)
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "%s: store.kind clickhouse needs store.url, such as "
                           "https://clickhouse:8443",
                           name);
    if (!is_clickhouse && (c->store.url || c->store.user || c->store.password_file ||
                           c->store.ca_file || c->store.replicas))
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "%s: url, user, password_file, ca_file and replicas in store need "
                           "kind: clickhouse",
                           name);
    return 0;
}

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
    if (r == 0)
        r = check_store(name, c, err);
    if (r == 0)
        r = check_entries(name, c, err);
    if (r < 0)
        spy_collector_config_free(c);
    return r;
}

// A roll-up is kept at least as long as what it sums up; hours: 0s, none is made.
static void set_levels(struct spy_collector_config *c)
{
    if (c->retention.minutes_ns < c->retention.raw_ns || !c->retention.hours_ns)
        c->retention.minutes_ns = c->retention.raw_ns;
    if (c->retention.hours_ns && c->retention.hours_ns < c->retention.minutes_ns)
        c->retention.hours_ns = c->retention.minutes_ns;
}

int spy_collector_config_parse(const char *name, const char *text, size_t len,
                               struct spy_collector_config *ret, struct spy_err *err)
{
    struct spy_collector_config c = {0};
    int r = spy_schema_parse(collector_config_keys, name, text, len, &c, err);
    if (r == 0)
        r = check_collector_config(name, &c, err);
    if (r == 0) {
        set_levels(&c);
        *ret = c;
    }
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

void spy_collector_config_compare(const struct spy_collector_config *a,
                                  const struct spy_collector_config *b,
                                  void (*fn)(void *arg, const char *key), void *arg)
{
    spy_schema_compare(collector_config_keys, a, b, fn, arg);
}

void spy_collector_config_free(struct spy_collector_config *c)
{
    spy_schema_release(collector_config_keys, c);
    *c = (struct spy_collector_config){0};
}
