#include "agent/config/agent_config.h"
#include "shared/base/mem.h"
#include "shared/base/regex.h"
#include "shared/config/schema.h"
#include <stdlib.h>
#include <string.h>

#define AT(member)      offsetof(struct spy_agent_config, member)
#define IN_RULE(member) offsetof(struct spy_rule, member)

static const char *const blocking_names[] = {"never", "auto", "always", NULL};
static const char *const compression_names[] = {"auto", "zstd", "gzip", "none", NULL};
static const char *const switch_names[] = {"auto", "on", "off", NULL};

static const struct spy_key collector_keys[] = {
    SPY_TEXT("url", AT(collector.url), NULL),
    SPY_TEXT("ca_file", AT(collector.ca_file), NULL),
    SPY_TEXT("token_file", AT(collector.token_file), NULL),
    SPY_TEXT("cert_file", AT(collector.cert_file), NULL),
    SPY_TEXT("key_file", AT(collector.key_file), NULL),
    {0},
};

static const struct spy_key sampling_keys[] = {
    SPY_UINT("rate", AT(sampling.rate), "100", 1, 1000),
    SPY_CHOICE("blocking", AT(sampling.blocking), "auto", blocking_names),
    SPY_BOOL("native", AT(sampling.native), "false"),
    {0},
};

static const struct spy_key budget_keys[] = {
    SPY_DOUBLE("cpu_percent", AT(budget.cpu_percent), "2", 0.1, 10000),
    SPY_UINT("memory_mib", AT(budget.memory_mib), "64", 16, 65536),
    {0},
};

static const struct spy_key rule_keys[] = {
    SPY_TEXT("name", IN_RULE(name), NULL),        SPY_TEXT("cmdline", IN_RULE(cmdline), NULL),
    SPY_TEXT("exe", IN_RULE(exe), NULL),          SPY_TEXT("cgroup", IN_RULE(cgroup), NULL),
    SPY_TEXT("user", IN_RULE(user), NULL),        SPY_UINT("rate", IN_RULE(rate), NULL, 1, 1000),
    SPY_BOOL("native", IN_RULE(native), "false"), {0},
};

static const struct spy_key discovery_keys[] = {
    SPY_CHOICE("kubernetes", AT(discovery.kubernetes), "auto", switch_names),
    SPY_TEXT("kubernetes_url", AT(discovery.kubernetes_url), NULL),
    SPY_TEXT("kubernetes_token_file", AT(discovery.kubernetes_token_file), NULL),
    SPY_TEXT("kubernetes_ca_file", AT(discovery.kubernetes_ca_file), NULL),
    SPY_CHOICE("docker", AT(discovery.docker), "auto", switch_names),
    SPY_TEXT("docker_socket", AT(discovery.docker_socket), "/var/run/docker.sock"),
    SPY_TEXT("annotation_prefix", AT(discovery.annotation_prefix), "podspy.dev"),
    {.name = "processes",
     .type = SPY_KEY_LIST,
     .offset = AT(discovery.processes),
     .fields = rule_keys,
     .size = sizeof(struct spy_rule),
     .count_offset = offsetof(struct spy_agent_config, discovery.n_processes),
     .line_offset = offsetof(struct spy_rule, line)},
    {0},
};

static const struct spy_key push_keys[] = {
    SPY_DURATION("interval", AT(push.interval_ns), "10s", 1e9, 600e9),
    SPY_TEXT("spool_dir", AT(push.spool_dir), "/var/lib/podspy/spool"),
    SPY_UINT("spool_mib", AT(push.spool_mib), "256", 1, 1048576),
    SPY_CHOICE("compression", AT(push.compression), "auto", compression_names),
    {0},
};

static const struct spy_key agent_config_keys[] = {
    SPY_MAP("collector", collector_keys),
    SPY_MAP("sampling", sampling_keys),
    SPY_MAP("budget", budget_keys),
    SPY_MAP("discovery", discovery_keys),
    SPY_MAP("push", push_keys),
    SPY_TEXT("cluster", AT(cluster), NULL),
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

// A name "${VARIABLE}" is the value of that variable, so that one file serves many pods.
static int expand_rule_name(const char *name, struct spy_rule *r, struct spy_err *err)
{
    size_t len = r->name ? strlen(r->name) : 0;
    if (len < 4 || strncmp(r->name, "${", 2) != 0 || r->name[len - 1] != '}')
        return 0;
    _cleanup_free_ char *variable = strndup(r->name + 2, len - 3);
    const char *value = variable ? getenv(variable) : NULL;
    if (variable && (!value || !*value))
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "%s:%d: the environment variable %.80s of the rule's name is not set",
                           name, r->line, variable);
    char *expanded = variable ? strdup(value) : NULL;
    if (!expanded)
        return spy_err_nomem(err);
    free(r->name);
    r->name = expanded;
    return 0;
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
        r = expand_rule_name(name, &c->discovery.processes[i], err);
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
    int r = spy_schema_parse(agent_config_keys, name, text, len, &c, err);
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
    spy_schema_release(agent_config_keys, c);
    *c = (struct spy_agent_config){0};
}
