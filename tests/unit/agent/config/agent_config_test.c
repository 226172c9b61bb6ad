// The agent's configuration, and the schema engine by way of it.
#include "agent/config/agent_config.h"
#include "shared/base/clock.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int agent(const char *text, struct spy_agent_config *c, struct spy_err *e)
{
    return spy_agent_config_parse("agent.yaml", text, strlen(text), c, e);
}

static void assert_agent_defaults(const struct spy_agent_config *c)
{
    assert_null(c->collector.ca_file);
    assert_null(c->collector.token_file);
    assert_null(c->collector.cert_file);
    assert_null(c->collector.key_file);
    assert_int_equal(c->sampling.rate, 100);
    assert_int_equal(c->sampling.blocking, SPY_PAUSE_AUTO);
    assert_false(c->sampling.native);
    assert_true(c->budget.cpu_percent == 2.0);
    assert_int_equal(c->budget.memory_mib, 64);
    assert_int_equal(c->discovery.kubernetes, SPY_SWITCH_AUTO);
    assert_int_equal(c->discovery.docker, SPY_SWITCH_AUTO);
    assert_string_equal(c->discovery.annotation_prefix, "podspy.dev");
    assert_true(c->push.interval_ns == 10 * SPY_NS_PER_SEC);
    assert_non_null(c->push.spool_dir);
    assert_int_equal(c->push.spool_mib, 256);
    assert_int_equal(c->push.compression, SPY_COMPRESSION_AUTO);
}

static void an_empty_file_gives_the_defaults(void **state)
{
    (void)state;
    static const char *const nothing[] = {
        "", "# only a comment\n", "---\n", "~\n", "{}\n", "null", "NULL\n"};
    for (size_t i = 0; i < SPY_COUNT(nothing); i++) {
        struct spy_agent_config a;
        assert_int_equal(agent(nothing[i], &a, NULL), 0);
        assert_agent_defaults(&a);
        assert_null(a.collector.url);
        assert_int_equal(a.discovery.n_processes, 0);
        spy_agent_config_free(&a);
    }
    struct spy_agent_config a;
    assert_int_equal(spy_agent_config_load(NULL, &a, NULL), 0);
    assert_agent_defaults(&a);
    spy_agent_config_free(&a);
    assert_null(a.push.spool_dir); // zeroed
}

static void a_rule_may_be_named_after_an_environment_variable(void **state)
{
    (void)state;
    static const char text[] =
        "discovery: {processes: [{name: \"${SPY_TEST_POD}\", exe: a}, {name: \"${\", exe: a}]}";
    struct spy_agent_config a;
    struct spy_err e = {0};
    unsetenv("SPY_TEST_POD");
    assert_int_equal(agent(text, &a, &e), SPY_ERR_INVALID);
    assert_non_null(strstr(e.msg, "SPY_TEST_POD"));
    setenv("SPY_TEST_POD", "web-0", 1);
    assert_int_equal(agent(text, &a, &e), 0);
    assert_string_equal(a.discovery.processes[0].name, "web-0");
    assert_string_equal(a.discovery.processes[1].name, "${");
    spy_agent_config_free(&a);
}

// The block of the manual page, word for word where it is YAML.
static void the_documented_block_is_accepted_and_is_the_defaults(void **state)
{
    (void)state;
    struct spy_agent_config a;
    struct spy_err e = {0};
    if (agent("collector: {url: https://x, ca_file: , token_file: , cert_file: , key_file: }\n"
              "sampling:  {rate: 100, blocking: auto, native: false}\n"
              "budget:    {cpu_percent: 2, memory_mib: 64}\n"
              "cluster:   blue\n"
              "discovery: {kubernetes: auto, docker: auto, annotation_prefix: podspy.dev,\n"
              "            kubernetes_url: 'https://k', kubernetes_token_file: /t,"
              " kubernetes_ca_file: /c,\n"
              "            processes: [{name: web, cmdline: RE, exe: GLOB, cgroup: GLOB,"
              " user: NAME, rate: 100, native: false}]}\n"
              "push:      {interval: 10s, spool_dir: , spool_mib: 256, compression: auto}\n",
              &a, &e) < 0)
        fail_msg("%s", e.msg);
    assert_agent_defaults(&a);
    assert_string_equal(a.collector.url, "https://x");
    assert_int_equal(a.discovery.n_processes, 1);
    const struct spy_rule *r = a.discovery.processes;
    assert_string_equal(r->name, "web");
    assert_string_equal(r->cmdline, "RE");
    assert_string_equal(r->exe, "GLOB");
    assert_string_equal(r->cgroup, "GLOB");
    assert_string_equal(r->user, "NAME");
    assert_int_equal(r->rate, 100);
    assert_int_equal(r->line, 7);
    assert_string_equal(a.cluster, "blue");
    assert_string_equal(a.discovery.kubernetes_url, "https://k");
    assert_string_equal(a.discovery.kubernetes_token_file, "/t");
    assert_string_equal(a.discovery.kubernetes_ca_file, "/c");
    spy_agent_config_free(&a);
}

struct row {
    const char *text, *says;
};

static void each_mistake_names_its_line(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"sampling:\n  rat: 5\n", "agent.yaml:2: unknown key 'rat'; did you mean 'rate'?"},
        {"\n\nnonsense: 1\n", "agent.yaml:3: unknown key 'nonsense'; known here: collector,"},
        {"sampling: {rate: 0}", "agent.yaml:1: rate is a whole number from 1 to 1000, not '0'"},
        {"sampling: {rate: 1001}", "from 1 to 1000"},
        {"sampling: {rate: 1.5}", "whole number"},
        {"sampling: {rate: -1}", "whole number"},
        {"sampling: {rate: 0x10}", "whole number"},
        {"sampling: {rate: 99999999999999999999}", "from 1 to 1000"},
        {"sampling: {rate: fast}", "not 'fast'"},
        {"sampling: {rate: [1]}", "rate is a single value"},
        {"sampling: {rate: {a: 1}}", "rate is a single value"},
        {"sampling: 5", "sampling is a mapping of keys"},
        {"sampling: [5]", "sampling is a mapping of keys"},
        {"sampling:\n  blocking: maybe", ":2: blocking is one of never, auto, always, not 'maybe'"},
        {"sampling: {native: perhaps}", "native is true or false, not 'perhaps'"},
        {"budget: {cpu_percent: 0}", "cpu_percent is a number from 0.1"},
        {"budget: {cpu_percent: nan}", "cpu_percent is a number"},
        {"budget: {cpu_percent: inf}", "cpu_percent is a number"},
        {"push: {compression: brotli}", "auto"},
        {"push: {interval: 10}", "interval is a time like"},
        {"push: {interval: 10 s}", "interval is a time like"},
        {"push: {interval: 100ms}", "from 1s to 600s"},
        {"push: {interval: 1d}", "from 1s to 600s"},
        {"push: {interval: -5s}", "interval is a time like"},
        {"push: {interval: nans}", "interval is a time like"},
        {"push: {interval: s}", "interval is a time like"},
        {"discovery: {kubernetes_url: 'api:6443'}",
         "kubernetes_url begins with https:// or http://"},
        {"discovery: {docker: maybe}", "docker is one of auto, on, off"},
        {"discovery: {processes: 3}", "processes is a list"},
        {"discovery:\n  processes:\n  - web\n", ":3: an entry of processes is a mapping"},
        {"discovery: {processes: [{exe: x}]}", "needs a name"},
        {"discovery: {processes: [{name: ''}]}", "needs a name"},
        {"discovery:\n  processes:\n  - name: web\n", ":3: rule 'web' matches everything"},
        {"discovery:\n  processes:\n  - {name: a, exe: x}\n  - {name: web, cmdline: 'a['}",
         ":4: cmdline of rule 'web' is not a regular expression: "},
        {"discovery: {processes: [{name: a, cmdline: '((x{999}){999}){999}'}]}", "too large"},
        {"discovery: {processes: [{name: a, exe: x, rate: 0}]}", "rate is a whole number"},
        {"sampling: {rate: 5}\nsampling: {rate: 6}\n", ":2: 'sampling' is given twice"},
        {"sampling: {rate: 5, rate: 6}\n", "'rate' is given twice"},
        {"collector: {url: ftp://x}",
         "collector.url begins with https:// or http://, not 'ftp://x'"},
        {"collector: {cert_file: x}", "go together"},
        {"collector: {url: \"https://a\\0b\"}", "url is a single value"},
        {"collector: {\"url\\0b\": x}", "a key is a single word"},
        {"[1]: 2", "a key is a single word"},
        {"- a\n- b\n", "the file is a mapping of keys"},
        {"text", "the file is a mapping of keys"},
        {"a: [", "not YAML"},
        {"sampling: {rate: 5\n", "not YAML"},
        {"a: 'x\n", "not YAML"},
        {"sampling: *nobody", "not YAML"},
        {"\tx: 1", "not YAML"},
        {"sampling: {rate: 5}\n---\nsampling: {rate: 6}\n", ":3: a second document"},
        {"sampling: {rate: 5}\n---\n{[\n", "not YAML"},
        {"a\xff: 1", "not YAML"},
        {"base: &b {rate: 5}\nsampling:\n  <<: *b\n", "unknown key 'base'"},
        {"sampling: &b {rate: 5, <<: *b}", "unknown key '<<'"},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        struct spy_agent_config c;
        struct spy_err e = {0};
        memset(&c, 0x5a, sizeof c);
        struct spy_agent_config before = c;
        if (agent(rows[i].text, &c, &e) != SPY_ERR_INVALID)
            fail_msg("taken: %s", rows[i].text);
        if (strncmp(e.msg, "agent.yaml:", 11) != 0 || !strstr(e.msg, rows[i].says))
            fail_msg("%s: %s", rows[i].text, e.msg);
        assert_memory_equal(&c, &before, sizeof c); // untouched
    }
}

static void values_are_read(void **state)
{
    (void)state;
    struct spy_agent_config c;
    struct spy_err e = {0};
    if (agent("collector: {url: 'http://127.0.0.1:1', ca_file: /ca, cert_file: c, key_file: k}\n"
              "sampling: {rate: 1000, blocking: Never, native: yes}\n"
              "budget: {cpu_percent: 0.5}\n"
              "discovery: {kubernetes: on, docker: off, docker_socket: /s}\n"
              "push: {interval: 1.5m, spool_dir: /x y, spool_mib: 1, compression: none}\n",
              &c, &e) < 0)
        fail_msg("%s", e.msg);
    assert_string_equal(c.collector.url, "http://127.0.0.1:1");
    assert_string_equal(c.collector.key_file, "k");
    assert_int_equal(c.sampling.rate, 1000);
    assert_int_equal(c.sampling.blocking, SPY_PAUSE_NEVER);
    assert_true(c.sampling.native);
    assert_true(c.budget.cpu_percent == 0.5);
    assert_int_equal(c.discovery.kubernetes, SPY_SWITCH_ON);
    assert_int_equal(c.discovery.docker, SPY_SWITCH_OFF);
    assert_string_equal(c.discovery.docker_socket, "/s");
    assert_true(c.push.interval_ns == 90 * SPY_NS_PER_SEC);
    assert_int_equal(c.push.compression, SPY_COMPRESSION_NONE);
    assert_string_equal(c.push.spool_dir, "/x y");
    spy_agent_config_free(&c);
}

static void aliases_are_copies(void **state)
{
    (void)state;
    struct spy_agent_config c;
    struct spy_err e = {0};
    if (agent("discovery:\n  processes:\n  - &w {name: web, exe: x}\n  - *w\n  - *w\n", &c, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(c.discovery.n_processes, 3);
    assert_string_equal(c.discovery.processes[2].name, "web");
    assert_ptr_not_equal(c.discovery.processes[2].name, c.discovery.processes[0].name);
    spy_agent_config_free(&c);
}

static void aliases_that_refer_to_themselves_end(void **state)
{
    (void)state;
    struct spy_agent_config c;
    assert_true(agent("sampling: &a {rate: *a}", &c, NULL) < 0);
    assert_true(agent("&a sampling: &b\n  ? *b\n  : *b", &c, NULL) < 0);
    assert_true(agent("discovery: {processes: &l [*l, *l]}", &c, NULL) < 0);
    assert_true(agent("&r discovery: &d {processes: [*d]}", &c, NULL) < 0);
}

static void billion_laughs_expansion_is_bounded(void **state)
{
    (void)state;
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(1 << 20);
    struct spy_agent_config c;
    struct spy_err e = {0};
    uint64_t start = spy_clock_cpu_ns();
    spy_buf_puts(&b, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 30; i++) {
        spy_buf_printf(&b, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++)
            spy_buf_printf(&b, "*a%d,", i - 1);
        spy_buf_puts(&b, "]\n");
    }
    assert_int_equal(agent(spy_buf_str(&b), &c, &e), SPY_ERR_INVALID);
    spy_buf_reset(&b);
    spy_buf_puts(&b, "discovery:\n  processes:\n  - &w {name: web, exe: x}\n");
    for (int i = 0; i < 1024; i++)
        spy_buf_puts(&b, "  - *w\n");
    assert_int_equal(agent(spy_buf_str(&b), &c, &e), SPY_ERR_INVALID);
    assert_non_null(strstr(e.msg, "more than 1024 entries"));
    assert_true(spy_clock_cpu_ns() - start < 5 * SPY_NS_PER_SEC);
}

static void deep_nesting_is_refused_in_time(void **state)
{
    (void)state;
    static const char *const openers[] = {"[", "{a: ", "- ", "? ", "[{", "!a &b "};
    uint64_t start = spy_clock_cpu_ns();
    for (size_t i = 0; i < SPY_COUNT(openers); i++) {
        _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(1 << 20);
        struct spy_agent_config c;
        struct spy_err e = {0};
        while (b.len < 100000)
            spy_buf_puts(&b, openers[i]);
        assert_true(agent(spy_buf_str(&b), &c, &e) < 0);
    }
    assert_true(spy_clock_cpu_ns() - start < 5 * SPY_NS_PER_SEC);
}

static void long_values_are_refused(void **state)
{
    (void)state;
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(1 << 20);
    struct spy_agent_config c;
    struct spy_err e = {0};
    spy_buf_puts(&b, "push: {spool_dir: /");
    for (int i = 0; i < 5000; i++)
        spy_buf_putc(&b, 'x');
    spy_buf_puts(&b, "}");
    assert_int_equal(agent(spy_buf_str(&b), &c, &e), SPY_ERR_INVALID);
    assert_non_null(strstr(e.msg, "longer than 4096 bytes"));
}

static void files_are_read_and_named(void **state)
{
    (void)state;
    char path[] = "/tmp/podspy-config.XXXXXX", want[200];
    struct spy_agent_config c;
    struct spy_err e = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "sampling:\n rate: 7\n", 19), 19);
    assert_int_equal(spy_agent_config_load(path, &c, &e), 0);
    assert_int_equal(c.sampling.rate, 7);
    spy_agent_config_free(&c);
    assert_int_equal(write(fd, " rats: 7\n", 9), 9);
    assert_int_equal(spy_agent_config_load(path, &c, &e), SPY_ERR_INVALID);
    snprintf(want, sizeof want, "%s:3: unknown key 'rats'", path);
    assert_non_null(strstr(e.msg, want));
    assert_int_equal(ftruncate(fd, (1 << 20) + 1), 0);
    assert_int_equal(spy_agent_config_load(path, &c, &e), SPY_ERR_LIMIT);
    close(fd);
    unlink(path);
    assert_int_equal(spy_agent_config_load(path, &c, &e), SPY_ERR_GONE);
    assert_non_null(strstr(e.msg, path));
}

RUN(T(an_empty_file_gives_the_defaults), T(the_documented_block_is_accepted_and_is_the_defaults),
    T(each_mistake_names_its_line), T(values_are_read), T(aliases_are_copies),
    T(aliases_that_refer_to_themselves_end), T(billion_laughs_expansion_is_bounded),
    T(deep_nesting_is_refused_in_time), T(long_values_are_refused), T(files_are_read_and_named),
    T(a_rule_may_be_named_after_an_environment_variable))
