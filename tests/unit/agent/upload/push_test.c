// Which collectors are accepted. What a request does on the wire is held by tests/contract/upload.
#include "agent/upload/push.h"
#include "tests/unit/test.h"
#include <string.h>

static void refused(const char *url, const char *word)
{
    struct spy_err err = {0};
    assert_int_equal(spy_push_check_url(url, &err), SPY_ERR_USAGE);
    if (!strstr(err.msg, word))
        fail_msg("%s: '%s' does not say '%s'", url, err.msg, word);
}

static void clear_text_goes_to_loopback_only(void **state)
{
    (void)state;
    static const char *const good[] = {"https://collector.podspy:8443",
                                       "https://10.0.0.1/",
                                       "http://127.0.0.1:4318",
                                       "http://localhost:1",
                                       "http://127.9.9.9",
                                       "http://[::1]:80"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(spy_push_check_url(good[i], NULL), 0);
    refused("http://collector:8080", "clear text");
    refused("http://10.0.0.1", "clear text");
    refused("http://127.0.0.1.evil.test", "clear text");
    refused("http://localhost.evil.test", "clear text");
    refused("http://[::2]", "clear text");
}

static void a_url_is_scheme_host_and_port(void **state)
{
    (void)state;
    refused("ftp://127.0.0.1", "https://");
    refused("collector:8443", "");
    refused("", "URL");
    refused("https://", "URL");
    refused("https://collector/v1/profiles", "path");
    refused("https://user:pw@collector", "user");
    refused("https://collector/?a=b", "query");
}

static void a_url_that_is_refused_is_not_repeated_with_its_password(void **state)
{
    (void)state;
    struct spy_err err = {0};
    assert_int_equal(spy_push_check_url("https://me:secret@host", &err), SPY_ERR_USAGE);
    assert_null(strstr(err.msg, "secret"));
}

static void certificate_and_key_go_together(void **state)
{
    (void)state;
    struct spy_err err = {0};
    struct spy_push *p;
    struct spy_push_options o = {.url = "https://c", .cert_file = "a"};
    assert_int_equal(spy_push_new(&o, &p, &err), SPY_ERR_USAGE);
    assert_non_null(strstr(err.msg, "key_file"));
}

RUN(T(clear_text_goes_to_loopback_only), T(a_url_is_scheme_host_and_port),
    T(a_url_that_is_refused_is_not_repeated_with_its_password), T(certificate_and_key_go_together))
