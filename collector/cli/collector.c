#include "collector/cli/collector.h"
#include "collector/store/clickhouse/place.h"
#include "shared/base/clock.h"
#include "shared/base/log.h"
#include "shared/base/mem.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { EXPIRE_SECS = 60, PLACE_MAX = 16 << 10 };

// The time for retention: retention_clock.h says how far the system's clock is trusted.
static int get_retention_time_logged(struct spy_collector *c, uint64_t *ret, struct spy_err *err)
{
    static uint64_t last;
    uint64_t real = spy_clock_real_ns();
    int r = spy_store_now(c->store, real, spy_clock_boot_ns(), ret, err);
    if (r == 0 && *ret < real && spy_log_due(&last, 600 * SPY_NS_PER_SEC))
        spy_log(SPY_LOG_WARN,
                "the clock is ahead of all windows received: retention waits until the clock is "
                "corrected or new windows confirm it",
                SPY_I("seconds_ahead", (real - *ret) / SPY_NS_PER_SEC));
    return r;
}

static void expire_data(void *arg)
{
    struct spy_collector *c = arg;
    struct spy_err err = {0};
    uint64_t max = (uint64_t)c->config.retention.max_gib << 30, now = 0;
    int r = get_retention_time_logged(c, &now, &err);
    if (r == 0)
        r = spy_store_expire(c->store, now, c->config.retention.raw_ns, max, &err);
    if (r < 0)
        spy_log(SPY_LOG_ERROR, "cannot drop old data", SPY_S("error", err.msg));
}

// Logs a failure when it differs from the last, and every ten minutes.
static void log_renewal_failure(struct spy_collector *c, const char *why)
{
    bool is_new = strcmp(c->renewal_failure, why) != 0;
    if (*why && (is_new || spy_log_due(&c->renewal_logged, 600 * SPY_NS_PER_SEC)))
        spy_log(SPY_LOG_ERROR, "cannot renew a certificate or token; still using the previous one",
                SPY_S("error", why));
    if (is_new)
        snprintf(c->renewal_failure, sizeof c->renewal_failure, "%s", why);
}

static void renew_credentials(void *arg)
{
    struct spy_collector *c = arg;
    struct spy_err err = {0}, more = {0};
    int r = spy_tls_refresh(c->tls, &err);
    if (spy_auth_refresh(c->auth, r < 0 ? &more : &err) < 0 && r < 0)
        spy_err_context(&err, r, "%s; and", more.msg);
    log_renewal_failure(c, err.msg);
}

void spy_collector_reload(struct spy_collector *c)
{
    spy_log(SPY_LOG_INFO, "reading certificates and tokens again");
    spy_every_now(c->renewal);
}

static int start_http(struct spy_collector *c, struct spy_err *err)
{
    const struct spy_collector_config *f = &c->config;
    struct spy_http_options o = {.https = f->listen.https,
                                 .http = f->listen.http,
                                 .certificate = spy_tls_current,
                                 .certificate_arg = c->tls,
                                 .asks_for_certificates = f->tls.client_ca_file,
                                 .routes = c->routes,
                                 .arg = c,
                                 .body_max = (size_t)f->limits.body_mib << 20,
                                 .bodies_max = c->memory.bodies,
                                 .answers_max = c->memory.answers,
                                 .large_at_once = c->memory.large_at_once,
                                 .connections_per_ip = f->limits.connections_per_ip};
    spy_collector_list_routes(c->routes);
    return spy_http_new(&o, &c->http, err);
}

// Quotes a word for a shell.
static void put_quoted_value(struct spy_buf *b, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "/._-+=:,@";
    if (word[strspn(word, plain)] == 0) {
        spy_buf_puts(b, word);
        return;
    }
    spy_buf_putc(b, '\'');
    for (; *word; word++)
        if (*word == '\'')
            spy_buf_puts(b, "'\\''");
        else
            spy_buf_putc(b, *word);
    spy_buf_putc(b, '\'');
}

// Logs what a person needs next: where the CA and the tokens are, and a command that works.
static void log_how_to_use(const struct spy_collector *c)
{
    const char *dir = c->config.store.dir;
    char ca[PATH_MAX], ingest[PATH_MAX], header[PATH_MAX];
    _cleanup_buf_ struct spy_buf curl = SPY_BUF_INIT(SPY_LOG_MAX);
    unsigned https = spy_http_tls_port(c->http), http = spy_http_plain_port(c->http);
    bool own = !c->config.tls.cert_file;
    snprintf(ca, sizeof ca, "%s%s", own ? dir : "", own ? "/ca.pem" : "");
    snprintf(ingest, sizeof ingest, "%s/ingest.token", dir);
    snprintf(header, sizeof header, "@%s/read.header", dir);
    spy_log(SPY_LOG_INFO, "listening", SPY_S("version", PODSPY_VERSION), SPY_I("https", https),
            SPY_I("http", http), SPY_S("data", dir), SPY_I("memory_mib", c->memory.total >> 20));
    if (c->config.auth.ingest & SPY_AUTH_TOKEN)
        spy_log(SPY_LOG_INFO, "settings for agents", SPY_S("ca_file", ca),
                SPY_S("token_file", ingest));
    if (c->config.auth.ingest & SPY_AUTH_KUBERNETES)
        spy_log(SPY_LOG_INFO, "agents authenticate with their service account",
                SPY_S("agent", c->config.auth.kubernetes.agent),
                SPY_S("audience", c->config.auth.kubernetes.audience));
    spy_buf_puts(&curl, "curl ");
    if (https && own && c->config.auth.read & SPY_AUTH_TOKEN) {
        spy_buf_puts(&curl, "--cacert ");
        put_quoted_value(&curl, ca);
        spy_buf_puts(&curl, " -H ");
        put_quoted_value(&curl, header);
        spy_buf_printf(&curl, " 'https://127.0.0.1:%u/profiles?pod=NAME&format=svg'", https);
    } else if (http) {
        spy_buf_printf(&curl, "'http://127.0.0.1:%u/profiles?pod=NAME&format=svg'", http);
    } else {
        return;
    }
    spy_log(SPY_LOG_INFO, "query with", SPY_S("curl", spy_buf_str(&curl)));
}

static int start_kubeapi(struct spy_collector *c, struct spy_err *err)
{
    const struct spy_collector_config *f = &c->config;
    struct spy_kubeapi_options o = {.url = f->auth.kubernetes.url,
                                    .ca_file = f->auth.kubernetes.ca_file,
                                    .token_file = f->auth.kubernetes.token_file,
                                    .name_space = f->auth.kubernetes.name_space};
    if (!f->tls.secret && !((f->auth.ingest | f->auth.read) & SPY_AUTH_KUBERNETES))
        return 0;
    int r = spy_kubeapi_new(&o, &c->kube, err);
    return r < 0 ? spy_err_context(err, r, "kubernetes in auth, or tls.secret") : 0;
}

static int name_agent(struct spy_collector *c, struct spy_err *err)
{
    char **agent = &c->config.auth.kubernetes.agent;
    if (!c->kube || *agent)
        return 0;
    if (asprintf(agent, "system:serviceaccount:%s:podspy-agent", spy_kubeapi_namespace(c->kube)) >=
        0)
        return 0;
    *agent = NULL;
    return spy_err_nomem(err);
}

static int start_trust(struct spy_collector *c, struct spy_err *err)
{
    const struct spy_collector_config *f = &c->config;
    int r = start_kubeapi(c, err);
    if (r == 0)
        r = name_agent(c, err);
    const char *name_space = c->kube ? spy_kubeapi_namespace(c->kube) : NULL;
    struct spy_tls_options tls = {.dir = f->store.dir,
                                  .cert_file = f->tls.cert_file,
                                  .key_file = f->tls.key_file,
                                  .kube = c->kube,
                                  .secret = f->tls.secret,
                                  .config_map = f->tls.config_map,
                                  .service = f->auth.kubernetes.service,
                                  .name_space = name_space};
    struct spy_auth_options auth = {.dir = f->store.dir,
                                    .ways = {f->auth.ingest, f->auth.read},
                                    .client_ca_file = f->tls.client_ca_file,
                                    .kube = c->kube,
                                    .audience = f->auth.kubernetes.audience,
                                    .agent = f->auth.kubernetes.agent,
                                    .service = f->auth.kubernetes.service,
                                    .name_space = name_space};
    if (r == 0)
        r = spy_tls_new(&tls, &c->tls, err);
    if (r == 0)
        r = spy_auth_new(&auth, &c->auth, err);
    return r < 0 ? r : spy_every_new(SPY_TLS_REFRESH_SECS, renew_credentials, c, &c->renewal, err);
}

// On a full disk there is no ports.json; the log has the ports as well.
static void publish_ports(const struct spy_collector *c)
{
    struct spy_err err = {0};
    if (spy_data_write_ports(c->config.store.dir, spy_http_tls_port(c->http),
                             spy_http_plain_port(c->http), &err) < 0)
        spy_log(SPY_LOG_WARN, "cannot write ports.json", SPY_S("error", err.msg));
}

// Damage may show only when a query meets it, so the start checks for a second.
static void check_for_damage(const struct spy_collector *c)
{
    enum { SECS = 1 };
    struct spy_err err = {0};
    if (spy_store_verify(c->store, SECS, &err) < 0)
        spy_log(SPY_LOG_ERROR, "the store is damaged; podspy-collector check has the details",
                SPY_S("error", err.msg));
}

static bool copy_store_value(char to[SPY_CLICK_TEXT], const char *from)
{
    return snprintf(to, SPY_CLICK_TEXT, "%s", from ? from : "") < SPY_CLICK_TEXT;
}

// Where the store is: what spy_store_open takes for its kind.
static int print_place(const struct spy_collector_config *f, struct spy_buf *out,
                       struct spy_err *err)
{
    struct spy_click_place p = {.replicas = f->store.replicas, .grace_secs = SPY_CLICK_GRACE_SECS};
    if (f->store.kind == SPY_STORE_SQLITE) {
        spy_buf_puts(out, f->store.dir);
    } else if (!copy_store_value(p.url, f->store.url) ||
               !copy_store_value(p.database, f->store.database) ||
               !copy_store_value(p.user, f->store.user) ||
               !copy_store_value(p.ca_file, f->store.ca_file) ||
               !copy_store_value(p.password_file, f->store.password_file)) {
        return spy_err_set(err, SPY_ERR_INVALID, 0, "a value in store takes more than %d bytes",
                           SPY_CLICK_TEXT - 1);
    } else {
        spy_click_place_print(&p, out);
    }
    return out->failed ? spy_err_set(err, SPY_ERR_INVALID, 0, "store is too long") : 0;
}

static const char *const kinds[] = {
    [SPY_STORE_SQLITE] = "sqlite", [SPY_STORE_CLICKHOUSE] = "clickhouse"};

static int open_store(struct spy_collector *c, struct spy_err *err)
{
    const struct spy_collector_config *f = &c->config;
    _cleanup_buf_ struct spy_buf place = SPY_BUF_INIT(PLACE_MAX);
    int r = print_place(f, &place, err);
    return r < 0 ? r
                 : spy_store_open(kinds[f->store.kind], spy_buf_str(&place), f->limits.series,
                                  c->memory.store, &c->store, err);
}

int spy_collector_check(const struct spy_collector_config *config, struct spy_err *err)
{
    char path[PATH_MAX];
    int lock = -1;
    if (config->store.kind == SPY_STORE_CLICKHOUSE) {
        _cleanup_buf_ struct spy_buf place = SPY_BUF_INIT(PLACE_MAX);
        int r = print_place(config, &place, err);
        return r < 0 ? r : spy_store_verify_dir("clickhouse", spy_buf_str(&place), err);
    }
    snprintf(path, sizeof path, "%s/podspy.db", config->store.dir);
    if (access(path, F_OK) < 0) // nothing is made here
        return spy_err_set(err, SPY_ERR_NOTFOUND, 0,
                           "there is no store %s: name its folder with --data or --config", path);
    int r = spy_data_open(config->store.dir, &lock, err);
    if (r == 0)
        r = spy_store_verify_dir("sqlite", config->store.dir, err);
    if (lock >= 0)
        close(lock);
    return r;
}

int spy_collector_backup(const struct spy_collector_config *config, const char *folder,
                         struct spy_err *err)
{
    return spy_store_backup_dir(kinds[config->store.kind], config->store.dir, folder, err);
}

int spy_collector_start_retention(struct spy_collector *c, struct spy_err *err)
{
    spy_store_keep(c->store, &(struct spy_store_levels){c->config.retention.minutes_ns,
                                                        c->config.retention.hours_ns});
    return spy_every_new(EXPIRE_SECS, expire_data, c, &c->retention, err);
}

static int start_parts(struct spy_collector *c, struct spy_err *err)
{
    const struct spy_collector_config *f = &c->config;
    const char *dir = f->store.dir;
    int r = spy_data_open(dir, &c->lock_fd, err);
    if (r == 0)
        r = start_trust(c, err);
    if (r == 0)
        r = open_store(c, err);
    if (r == 0)
        check_for_damage(c);
    if (r == 0)
        r = spy_ingest_new(
            &(struct spy_ingest_options){.store = c->store,
                                         .body_max = (size_t)f->limits.body_mib << 20,
                                         .memory = c->memory.decoding,
                                         .agents_max = f->limits.agents,
                                         .agent_bytes_a_minute =
                                             (uint64_t)f->limits.agent_mib_per_minute << 20,
                                         .retention_ns = f->retention.minutes_ns},
            &c->ingest, err);
    if (r == 0)
        r = spy_collector_start_retention(c, err);
    if (r == 0)
        r = start_http(c, err);
    if (r == 0)
        publish_ports(c);
    return r;
}

int spy_collector_start(struct spy_collector *c, struct spy_collector_config *config,
                        struct spy_err *err)
{
    *c =
        (struct spy_collector){.config = *config, .lock_fd = -1, .started_ns = spy_clock_real_ns()};
    *config = (struct spy_collector_config){0};
    for (size_t i = 0; i < c->config.n_entries && i < SPY_ENTRY_PATTERNS_MAX; i++)
        c->entries[i] =
            (struct spy_entry_pattern){c->config.entries[i].module, c->config.entries[i].function};
    size_t memory = (size_t)c->config.limits.memory_mib << 20;
    c->memory = spy_memory_divide(memory ? memory : spy_memory_default(),
                                  (size_t)c->config.limits.body_mib << 20);
    spy_memory_configure();
    int r = start_parts(c, err);
    if (r == 0)
        log_how_to_use(c);
    return r;
}

void spy_collector_stop(struct spy_collector *c)
{
    __atomic_store_n(&c->ending, true, __ATOMIC_RELAXED);
    if (c->http)
        spy_data_remove_ports(c->config.store.dir);
    spy_http_free(c->http); // first: everything else is used by its requests
    spy_every_free(c->renewal);
    spy_every_free(c->retention);
    spy_ingest_free(c->ingest);
    spy_store_close(c->store);
    spy_auth_free(c->auth);
    spy_tls_free(c->tls);
    spy_kubeapi_free(c->kube);
    if (c->lock_fd >= 0)
        close(c->lock_fd);
    spy_collector_config_free(&c->config);
}
