// The installed example configurations are read without an error, also with every commented default
// switched on, and then say what the programs do by default.
#include "agent/config/agent_config.h"
#include "collector/config/collector_config.h"
#include "shared/base/buf.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <fcntl.h>
#include <string.h>

// Takes the "# " away before YAML (an indented or top-level key or list entry, not a sentence).
static void uncomment(char *text)
{
    for (char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        char *hash = line + strspn(line, " ");
        size_t deep = hash[0] == '#' ? strspn(hash + 1, " ") : 0;
        const char *word = hash + 1 + deep;
        size_t len = strspn(word, "abcdefghijklmnopqrstuvwxyz_- ");
        bool key = deep && (word[len] == ':') && (word[0] == '-' || !memchr(word, ' ', len));
        if (key)
            memmove(hash, hash + 2, strcspn(hash + 2, "\n"));
        if (key)
            memset(hash + strcspn(hash, "\n") - 2, ' ', 2);
    }
}

static void read_example(const char *name, struct spy_buf *out)
{
    struct spy_err err = {0};
    if (spy_file_read(AT_FDCWD, name, out, &err) < 0 || spy_buf_append(out, "", 1) < 0)
        fail_msg("%s", err.msg);
}

static void agent_example_is_valid(void **state)
{
    (void)state;
    struct spy_agent_config c;
    struct spy_err err = {0};
    if (spy_agent_config_load(EXAMPLES "/agent.yaml", &c, &err) < 0)
        fail_msg("%s", err.msg);
    assert_string_equal(c.collector.url, "https://collector.example:8443");
    assert_int_equal(c.discovery.n_processes, 0);
    spy_agent_config_free(&c);
}

static void agent_example_comments_are_the_defaults(void **state)
{
    (void)state;
    _cleanup_buf_ struct spy_buf text = SPY_BUF_INIT(1 << 16);
    read_example(EXAMPLES "/agent.yaml", &text);
    uncomment((char *)text.data);
    struct spy_agent_config c, defaults;
    struct spy_err err = {0};
    assert_int_equal(spy_agent_config_load(NULL, &defaults, &err), 0);
    if (spy_agent_config_parse("agent.yaml", (char *)text.data, text.len - 1, &c, &err) < 0)
        fail_msg("%s\n%s", err.msg, (char *)text.data);
    assert_string_equal(c.collector.token_file, "/etc/podspy/ingest.token");
    assert_int_equal(c.sampling.rate, defaults.sampling.rate);
    assert_int_equal(c.sampling.blocking, defaults.sampling.blocking);
    assert_true(c.budget.cpu_percent == defaults.budget.cpu_percent);
    assert_int_equal(c.budget.memory_mib, defaults.budget.memory_mib);
    assert_int_equal(c.push.interval_ns, defaults.push.interval_ns);
    assert_string_equal(c.push.spool_dir, defaults.push.spool_dir);
    assert_int_equal(c.push.spool_mib, defaults.push.spool_mib);
    assert_int_equal(c.discovery.n_processes, 1);
    assert_string_equal(c.discovery.processes[0].user, "www-data");
    spy_agent_config_free(&c);
    spy_agent_config_free(&defaults);
}

static void collector_example_comments_are_the_defaults(void **state)
{
    (void)state;
    _cleanup_buf_ struct spy_buf text = SPY_BUF_INIT(1 << 16);
    read_example(EXAMPLES "/collector.yaml", &text);
    uncomment((char *)text.data);
    struct spy_collector_config c, defaults;
    struct spy_err err = {0};
    assert_int_equal(spy_collector_config_load(NULL, &defaults, &err), 0);
    if (spy_collector_config_parse("collector.yaml", (char *)text.data, text.len - 1, &c, &err) < 0)
        fail_msg("%s\n%s", err.msg, (char *)text.data);
    assert_string_equal(c.listen.https, defaults.listen.https);
    assert_string_equal(c.listen.http, defaults.listen.http);
    assert_string_equal(c.store.dir, defaults.store.dir);
    assert_int_equal(c.auth.ingest, defaults.auth.ingest);
    assert_int_equal(c.auth.read, defaults.auth.read);
    assert_int_equal(c.retention.raw_ns, defaults.retention.raw_ns);
    assert_int_equal(c.retention.max_gib, defaults.retention.max_gib);
    assert_int_equal(c.limits.body_mib, defaults.limits.body_mib);
    assert_int_equal(c.limits.connections_per_ip, defaults.limits.connections_per_ip);
    assert_string_equal(c.tls.key_file, "/etc/podspy/tls.key");
    spy_collector_config_free(&c);
    spy_collector_config_free(&defaults);
}

RUN(T(agent_example_is_valid), T(agent_example_comments_are_the_defaults),
    T(collector_example_comments_are_the_defaults))
