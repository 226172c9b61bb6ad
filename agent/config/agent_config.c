#include "agent/config/agent_config.h"
#include "shared/base/mem.h"
#include "shared/base/regex.h"
#include "shared/config/schema.h"
#include <string.h>

#define AT(member)      .offset = offsetof(struct spy_agent_config, member)
#define IN_RULE(member) .offset = offsetof(struct spy_rule, member)

static const char *const blocking_names[] = {"never", "auto", "always", NULL};
static const char *const compression_names[] = {"auto", "zstd", "gzip", "none", NULL};
static const char *const switch_names[] = {"auto", "on", "off", NULL};

static const struct spy_key collector_keys[] = {
    {.name = "url", .type = SPY_KEY_STRING, AT(collector.url)},
    {.name = "ca_file", .type = SPY_KEY_STRING, AT(collector.ca_file)},
    {.name = "token_file", .type = SPY_KEY_STRING, AT(collector.token_file)},
    {.name = "cert_file", .type = SPY_KEY_STRING, AT(collector.cert_file)},
    {.name = "key_file", .type = SPY_KEY_STRING, AT(collector.key_file)},
    {0},
};

static const struct spy_key sampling_keys[] = {
    {.name = "rate",
     .type = SPY_KEY_UINT,
     AT(sampling.rate),
     .fallback = "100",
     .min = 1,
     .max = 1000},
    {.name = "blocking",
     .type = SPY_KEY_ENUM,
     AT(sampling.blocking),
     .fallback = "auto",
     .names = blocking_names},
    {.name = "native", .type = SPY_KEY_BOOL, AT(sampling.native), .fallback = "false"},
    {0},
};

static const struct spy_key budget_keys[] = {
    {.name = "cpu_percent",
     .type = SPY_KEY_DOUBLE,
     AT(budget.cpu_percent),
     .fallback = "2",
     .min = 0.1,
     .max = 10000},
    {.name = "memory_mib",
     .type = SPY_KEY_UINT,
     AT(budget.memory_mib),
     .fallback = "64",
     .min = 16,
     .max = 65536},
    {0},
};

static const struct spy_key rule_keys[] = {
    {.name = "name", .type = SPY_KEY_STRING, IN_RULE(name)},
    {.name = "cmdline", .type = SPY_KEY_STRING, IN_RULE(cmdline)},
    {.name = "exe", .type = SPY_KEY_STRING, IN_RULE(exe)},
    {.name = "cgroup", .type = SPY_KEY_STRING, IN_RULE(cgroup)},
    {.name = "user", .type = SPY_KEY_STRING, IN_RULE(user)},
    {.name = "rate", .type = SPY_KEY_UINT, IN_RULE(rate), .min = 1, .max = 1000},
    {.name = "native", .type = SPY_KEY_BOOL, IN_RULE(native), .fallback = "false"},
    {0},
};

static const struct spy_key discovery_keys[] = {
    {.name = "kubernetes",
     .type = SPY_KEY_ENUM,
     AT(discovery.kubernetes),
     .fallback = "auto",
     .names = switch_names},
    {.name = "kubernetes_url", .type = SPY_KEY_STRING, AT(discovery.kubernetes_url)},
    {.name = "kubernetes_token_file", .type = SPY_KEY_STRING, AT(discovery.kubernetes_token_file)},
    {.name = "kubernetes_ca_file", .type = SPY_KEY_STRING, AT(discovery.kubernetes_ca_file)},
    {.name = "docker",
     .type = SPY_KEY_ENUM,
     AT(discovery.docker),
     .fallback = "auto",
     .names = switch_names},
    {.name = "docker_socket",
     .type = SPY_KEY_STRING,
     AT(discovery.docker_socket),
     .fallback = "/var/run/docker.sock"},
    {.name = "annotation_prefix",
     .type = SPY_KEY_STRING,
     AT(discovery.annotation_prefix),
     .fallback = "podspy.dev"},
    {.name = "processes",
     .type = SPY_KEY_LIST,
     AT(discovery.processes),
     .fields = rule_keys,
     .size = sizeof(struct spy_rule),
     .count_offset = offsetof(struct spy_agent_config, discovery.n_processes),
     .line_offset = offsetof(struct spy_rule, line)},
    {0},
};

static const struct spy_key push_keys[] = {
    {.name = "interval",
     .type = SPY_KEY_DURATION,
     AT(push.interval_ns),
     .fallback = "10s",
     .min = 1e9,
     .max = 600e9},
    {.name = "spool_dir",
     .type = SPY_KEY_STRING,
     AT(push.spool_dir),
     .fallback = "/var/lib/podspy/spool"},
    {.name = "spool_mib",
     .type = SPY_KEY_UINT,
     AT(push.spool_mib),
     .fallback = "256",
     .min = 1,
     .max = 1048576},
    {.name = "compression",
     .type = SPY_KEY_ENUM,
     AT(push.compression),
     .fallback = "auto",
     .names = compression_names},
    {0},
};

static const struct spy_key keys[] = {
    {.name = "collector", .type = SPY_KEY_MAP, .fields = collector_keys},
    {.name = "sampling", .type = SPY_KEY_MAP, .fields = sampling_keys},
    {.name = "budget", .type = SPY_KEY_MAP, .fields = budget_keys},
    {.name = "discovery", .type = SPY_KEY_MAP, .fields = discovery_keys},
    {.name = "push", .type = SPY_KEY_MAP, .fields = push_keys},
    {.name = "cluster", .type = SPY_KEY_STRING, AT(cluster)},
    {0},
};

static int check_rule(const char *name, const struct spy_rule *r, struct spy_err *err)
{
    struct spy_regex *re;
    struct spy_err why = {0};
    if (!r->name || !*r->name)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "%s:%d: a rule of processes needs a name", name,
                           r->line);
    if (!r->cmdline && !r->exe && !r->cgroup && !r->user)
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "%s:%d: rule '%s' matches everything: give cmdline, exe, cgroup or user",
                           name, r->line, r->name);
    if (!r->cmdline)
        return 0;
    if (spy_regex_new(r->cmdline, &re, &why) == 0) {
        spy_regex_free(re);
        return 0;
    }
    return spy_err_set(err, SPY_ERR_INVALID, 0,
                       "%s:%d: cmdline of rule '%s' is not a regular expression: %s", name, r->line,
                       r->name, why.msg);
}

static int check_agent_config(const char *name, struct spy_agent_config *c, struct spy_err *err)
{
    const char *url = c->collector.url;
    int r = 0;
    if (url && strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0)
        r = spy_err_set(err, SPY_ERR_INVALID, 0,
                        "%s: collector.url begins with https:// or http://, not '%.80s'", name,
                        url);
    url = c->discovery.kubernetes_url;
    if (r == 0 && url && strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0)
        r = spy_err_set(err, SPY_ERR_INVALID, 0,
                        "%s: discovery.kubernetes_url begins with https:// or http://, not '%.80s'",
                        name, url);
    if (r == 0 && !c->collector.cert_file != !c->collector.key_file)
        r = spy_err_set(err, SPY_ERR_INVALID, 0,
                        "%s: collector.cert_file and collector.key_file go together", name);
    for (size_t i = 0; r == 0 && i < c->discovery.n_processes; i++)
        r = check_rule(name, &c->discovery.processes[i], err);
    if (r < 0)
        spy_agent_config_free(c);
    return r;
}

int spy_agent_config_parse(const char *name, const char *text, size_t len,
                           struct spy_agent_config *ret, struct spy_err *err)
{
    struct spy_agent_config c = {0};
    int r = spy_schema_parse(keys, name, text, len, &c, err);
    if (r == 0)
        r = check_agent_config(name, &c, err);
    if (r == 0)
        *ret = c;
    return r;
}

int spy_agent_config_load(const char *path, struct spy_agent_config *ret, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf text = SPY_BUF_INIT(SPY_SCHEMA_FILE_MAX);
    int r = path ? spy_schema_file(path, &text, err) : 0;
    if (r < 0)
        return r;
    return spy_agent_config_parse(path ? path : "defaults", spy_buf_str(&text), text.len, ret, err);
}

void spy_agent_config_free(struct spy_agent_config *c)
{
    spy_schema_release(keys, c);
    *c = (struct spy_agent_config){0};
}
