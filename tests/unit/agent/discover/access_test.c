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

static void in_a_pod_the_environment_says_where_it_is(void **state)
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

static void elsewhere_the_configuration_does(void **state)
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

static void what_is_missing_is_said(void **state)
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

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void a_token_that_is_none_is_not_sent(void **state)
{
    (void)state;
    char path[] = "/tmp/podspy-token.XXXXXX";
    int fd = mkstemp(path);
    close(fd);
    struct spy_access at = {.url = "http://127.0.0.1:1"};
    snprintf(at.token_file, sizeof at.token_file, "%s", path);
    static const char *const wrong[] = {"", "\n", "a b", "a\r\nX-Evil: 1", "\xff"};
    CURL *c = NULL;
    struct curl_slist *headers = NULL;
    for (size_t i = 0; i < SPY_COUNT(wrong); i++) {
        write_file(path, wrong[i]);
        assert_int_equal(spy_access_request(&at, "/", NULL, &c, &headers, &err), SPY_ERR_INVALID);
        assert_non_null(strstr(err.msg, path));
    }
    write_file(path, "good.token\n");
    assert_int_equal(spy_access_request(&at, "/", NULL, &c, &headers, &err), 0);
    assert_string_equal(headers->next->data, "Authorization: Bearer good.token");
    curl_slist_free_all(headers);
    curl_easy_cleanup(c);
    unlink(path);
    assert_true(spy_access_request(&at, "/", NULL, &c, &headers, &err) < 0);
    assert_non_null(strstr(err.msg, path));
}

RUN(T(in_a_pod_the_environment_says_where_it_is), T(elsewhere_the_configuration_does),
    T(what_is_missing_is_said), T(a_token_that_is_none_is_not_sent))
