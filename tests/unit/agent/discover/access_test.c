#include "agent/discover/access.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct spy_access a;
static struct spy_err err;

static int find(const char *yaml)
{
    struct spy_agent_config c;
    err = (struct spy_err){0};
    a = (struct spy_access){0};
    assert_int_equal(spy_agent_config_parse("test", yaml, strlen(yaml), &c, NULL), 0);
    int r = spy_access_find(&c, &a, &err);
    spy_agent_config_free(&c);
    return r;
}

static void environment(const char *host, const char *port, const char *node)
{
    const char *const pairs[][2] = {
        {"KUBERNETES_SERVICE_HOST", host}, {"KUBERNETES_SERVICE_PORT", port}, {"NODE_NAME", node}};
    for (size_t i = 0; i < SPY_COUNT(pairs); i++)
        assert_int_equal(pairs[i][1] ? setenv(pairs[i][0], pairs[i][1], 1) : unsetenv(pairs[i][0]),
                         0);
}

static void in_a_pod_the_environment_gives_the_address(void **state)
{
    (void)state;
    environment("10.96.0.1", "443", "node1");
    assert_int_equal(find("{}"), 1);
    assert_string_equal(a.url, "https://10.96.0.1:443");
    assert_string_equal(a.token_file, "/var/run/secrets/kubernetes.io/serviceaccount/token");
    assert_string_equal(a.ca_file, "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt");
    assert_string_equal(a.node, "node1");
    assert_string_equal(a.prefix, "podspy.dev");
    environment("fd00::1", "6443", "node1");
    assert_int_equal(find("discovery: {kubernetes: on}"), 1);
    assert_string_equal(a.url, "https://[fd00::1]:6443");
    assert_int_equal(find("discovery: {kubernetes: off}"), 0);
    assert_int_equal(err.code, 0);
}

static void outside_a_pod_the_configuration_gives_the_address(void **state)
{
    (void)state;
    char host[254] = "";
    environment(NULL, NULL, NULL);
    assert_int_equal(find("discovery: {kubernetes_url: 'https://api:6443/', "
                          "kubernetes_token_file: /t, kubernetes_ca_file: /c}"),
                     1);
    assert_string_equal(a.url, "https://api:6443");
    assert_string_equal(a.token_file, "/t");
    assert_string_equal(a.ca_file, "/c");
    gethostname(host, sizeof host - 1);
    assert_string_equal(a.node, host);
    // what is given counts in a pod too, and does not send the account's token elsewhere
    environment("10.96.0.1", "443", "node1");
    assert_int_equal(find("discovery: {kubernetes_url: 'http://127.0.0.1:1'}"), 1);
    assert_string_equal(a.url, "http://127.0.0.1:1");
    assert_string_equal(a.token_file, "");
}

static void missing_settings_are_reported(void **state)
{
    (void)state;
    environment(NULL, NULL, NULL);
    assert_int_equal(find("{}"), 0);
    assert_int_equal(err.code, 0); // no cluster, nothing to tell
    assert_int_equal(find("discovery: {kubernetes: on}"), SPY_ERR_USAGE);
    assert_non_null(strstr(err.msg, "discovery.kubernetes_url"));
    environment("10.96.0.1", "443", NULL);
    assert_int_equal(find("discovery: {kubernetes: on}"), SPY_ERR_USAGE);
    assert_non_null(strstr(err.msg, "NODE_NAME"));
    assert_int_equal(find("{}"), 0);
    assert_non_null(strstr(err.msg, "NODE_NAME"));
}

static void token_and_ca_files_are_passed_to_the_client(void **state)
{
    (void)state;
    struct spy_access at = {.token_file = "/t", .ca_file = "/c"};
    struct spy_client_options o = spy_access_client_options(&at);
    assert_string_equal(o.token_file, "/t");
    assert_string_equal(o.ca_file, "/c");
    assert_false(o.proxy);
}

RUN(T(in_a_pod_the_environment_gives_the_address),
    T(outside_a_pod_the_configuration_gives_the_address), T(missing_settings_are_reported),
    T(token_and_ca_files_are_passed_to_the_client))
