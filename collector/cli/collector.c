#include "collector/cli/collector.h"
#include "shared/base/log.h"
#include "shared/base/mem.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BODIES_HELD = 16 }; // bodies of the largest size that are held at once

static unsigned ways_of(unsigned flags)
{
    return (flags & SPY_AUTH_TOKEN ? SPY_AUTH_BY_TOKEN : 0u) |
           (flags & SPY_AUTH_MTLS ? SPY_AUTH_BY_MTLS : 0u);
}

static int start_http(struct spy_collector *c, struct spy_err *err)
{
    const struct spy_collector_config *f = &c->config;
    struct spy_http_options o = {.https = f->listen.https,
                                 .http = f->listen.http,
                                 .cert_pem = c->tls.cert_pem,
                                 .key_pem = c->tls.key_pem,
                                 .client_ca_pem = c->tls.client_ca_pem,
                                 .routes = spy_collector_routes,
                                 .arg = c,
                                 .body_max = (size_t)f->limits.body_mib << 20,
                                 .bodies_max = (size_t)f->limits.body_mib << 20,
                                 .connections_per_ip = f->limits.connections_per_ip};
    o.bodies_max *= BODIES_HELD;
    return spy_http_new(&o, &c->http, err);
}

// What a person needs to go on: where the CA and the tokens are, and a command that works.
static void say_how(const struct spy_collector *c)
{
    const char *dir = c->config.store.dir;
    char ca[PATH_MAX], ingest[PATH_MAX], read[PATH_MAX], curl[3 * PATH_MAX];
    unsigned https = spy_http_tls_port(c->http), http = spy_http_plain_port(c->http);
    bool own = !c->config.tls.cert_file;
    snprintf(ca, sizeof ca, "%s%s", own ? dir : "", own ? "/ca.pem" : "");
    snprintf(ingest, sizeof ingest, "%s/ingest.token", dir);
    snprintf(read, sizeof read, "%s/read.token", dir);
    spy_log(SPY_LOG_INFO, "listening", SPY_S("version", PODSPY_VERSION), SPY_I("https", https),
            SPY_I("http", http), SPY_S("data", dir));
    spy_log(SPY_LOG_INFO, "agents need these", SPY_S("ca_file", ca), SPY_S("token_file", ingest));
    if (https && own && c->config.auth.read & SPY_AUTH_TOKEN)
        snprintf(curl, sizeof curl,
                 "curl --cacert %s -H 'Authorization: Bearer '$(cat %s) "
                 "'https://127.0.0.1:%u/profiles?pod=NAME&format=svg'",
                 ca, read, https);
    else if (http)
        snprintf(curl, sizeof curl, "curl 'http://127.0.0.1:%u/profiles?pod=NAME&format=svg'",
                 http);
    else
        return;
    spy_log(SPY_LOG_INFO, "ask with this", SPY_S("read_token", read), SPY_S("curl", curl));
}

static int start_parts(struct spy_collector *c, struct spy_err *err)
{
    const struct spy_collector_config *f = &c->config;
    const char *dir = f->store.dir;
    int r = spy_data_open(dir, &c->lock_fd, err);
    if (r == 0)
        r = spy_tls_load(dir, f->tls.cert_file, f->tls.key_file, f->tls.client_ca_file, &c->tls,
                         err);
    if (r == 0)
        r = spy_auth_new(dir, ways_of(f->auth.ingest), ways_of(f->auth.read), &c->auth, err);
    if (r == 0)
        r = spy_store_sqlite_open(dir, f->limits.series, &c->store, err);
    if (r == 0)
        r = spy_ingest_new(
            &(struct spy_ingest_options){.store = c->store,
                                         .body_max = (size_t)f->limits.body_mib << 20,
                                         .agents_max = f->limits.agents},
            &c->ingest, err);
    if (r == 0)
        r = spy_retention_new(c->store, f->retention.raw_ns, (uint64_t)f->retention.max_gib << 30,
                              &c->retention, err);
    if (r == 0)
        r = start_http(c, err);
    if (r == 0)
        r = spy_data_write_ports(dir, spy_http_tls_port(c->http), spy_http_plain_port(c->http),
                                 err);
    return r;
}

int spy_collector_start(struct spy_collector *c, struct spy_collector_config *config,
                        struct spy_err *err)
{
    *c = (struct spy_collector){.config = *config, .lock_fd = -1};
    *config = (struct spy_collector_config){0};
    int r = start_parts(c, err);
    if (r == 0)
        say_how(c);
    return r;
}

void spy_collector_stop(struct spy_collector *c)
{
    __atomic_store_n(&c->ending, true, __ATOMIC_RELAXED);
    if (c->http)
        spy_data_remove_ports(c->config.store.dir);
    spy_http_free(c->http); // first: everything else is used by its requests
    spy_retention_free(c->retention);
    spy_ingest_free(c->ingest);
    if (c->store)
        c->store->ops->close(c->store);
    spy_auth_free(c->auth);
    spy_tls_free(&c->tls);
    if (c->lock_fd >= 0)
        close(c->lock_fd);
    spy_collector_config_free(&c->config);
}
