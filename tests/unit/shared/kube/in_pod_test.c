// Where a pod finds its API server.
#include "shared/kube/in_pod.h"
#include "tests/unit/test.h"
#include <stdlib.h>

static char url[64];

static void set_environment(const char *host, const char *port)
{
    assert_int_equal(
        host ? setenv("KUBERNETES_SERVICE_HOST", host, 1) : unsetenv("KUBERNETES_SERVICE_HOST"), 0);
    assert_int_equal(
        port ? setenv("KUBERNETES_SERVICE_PORT", port, 1) : unsetenv("KUBERNETES_SERVICE_PORT"), 0);
}

static void the_environment_gives_the_address(void **state)
{
    (void)state;
    set_environment("10.96.0.1", "6443");
    assert_true(spy_in_pod());
    assert_true(spy_in_pod_url(url, sizeof url));
    assert_string_equal(url, "https://10.96.0.1:6443");
    set_environment("fd00::1", NULL);
    assert_true(spy_in_pod_url(url, sizeof url));
    assert_string_equal(url, "https://[fd00::1]:443");
}

static void elsewhere_there_is_none(void **state)
{
    (void)state;
    set_environment(NULL, "443");
    assert_false(spy_in_pod());
    assert_false(spy_in_pod_url(url, sizeof url));
    assert_string_equal(url, "");
    set_environment("", "443");
    assert_false(spy_in_pod_url(url, sizeof url));
}

static void an_address_that_does_not_fit_is_not_cut(void **state)
{
    (void)state;
    set_environment("0123456789.0123456789.0123456789.0123456789.0123456789.0123456789", "1");
    assert_false(spy_in_pod_url(url, sizeof url));
    assert_string_equal(url, "");
}

RUN(T(the_environment_gives_the_address), T(elsewhere_there_is_none),
    T(an_address_that_does_not_fit_is_not_cut))
