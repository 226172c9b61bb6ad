#include "collector/auth/auth.h"
#include "collector/config/collector_config.h"
#include "shared/base/file.h"
#include "tests/unit/test.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char dir[64], path[128], header[600];
    struct spy_auth *auth;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/podspy-auth-XXXXXX");
    if (!f || !mkdtemp(f->dir))
        return -1;
    snprintf(f->path, sizeof f->path, "%s/ingest.token", f->dir);
    *state = f;
    struct spy_auth_options o = {.dir = f->dir, .ways = {SPY_AUTH_TOKEN, SPY_AUTH_TOKEN}};
    return spy_auth_new(&o, &f->auth, NULL);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    spy_auth_free(f->auth);
    unlink(f->path);
    static const char *const others[] = {"read.token", "read.header"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(f->path, sizeof f->path, "%s/%s", f->dir, others[i]);
        unlink(f->path);
    }
    rmdir(f->dir);
    free(f);
    return 0;
}

static const char *right(struct fixture *f)
{
    char token[512];
    assert_true(spy_file_read_small(AT_FDCWD, f->path, token, sizeof token) > 0);
    token[strcspn(token, "\n")] = 0;
    snprintf(f->header, sizeof f->header, "Bearer %s", token);
    return f->header;
}

static bool allowed(struct fixture *f, enum spy_auth_role role, const char *header)
{
    const char *why = NULL;
    struct spy_credential c = {.authorization = header};
    enum spy_auth_answer a = spy_auth_check(f->auth, role, &c, false, &why);
    assert_true(a == SPY_AUTH_YES || (a == SPY_AUTH_UNKNOWN && why && *why));
    return a == SPY_AUTH_YES;
}

static void test_tokens_are_long_secret_and_distinct(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(strlen(right(f)), strlen("Bearer ") + 64);
    assert_true(allowed(f, SPY_AUTH_INGEST, right(f)));
    assert_false(allowed(f, SPY_AUTH_READ, right(f)));
}

static void test_a_nearly_right_token_is_refused(void **state)
{
    struct fixture *f = *state;
    char text[600];
    static const char *const bad[] = {"", "Bearer", "Bearer ", "Basic x", "Bearer  x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(allowed(f, SPY_AUTH_INGEST, bad[i]));
    snprintf(text, sizeof text, "%.*s", (int)strlen(right(f)) - 1, right(f));
    assert_false(allowed(f, SPY_AUTH_INGEST, text));
    snprintf(text, sizeof text, "%sx", right(f));
    assert_false(allowed(f, SPY_AUTH_INGEST, text));
    snprintf(text, sizeof text, "%s%s", right(f), right(f) + strlen("Bearer "));
    assert_false(allowed(f, SPY_AUTH_INGEST, text));
    snprintf(text, sizeof text, "bEARER %s", right(f) + strlen("Bearer "));
    assert_true(allowed(f, SPY_AUTH_INGEST, text)); // RFC 9110, 11.1: the scheme's case is free
}

static void test_a_replaced_token_file_holds_at_once(void **state)
{
    struct fixture *f = *state;
    char old[600];
    snprintf(old, sizeof old, "%s", right(f));
    assert_int_equal(spy_file_write_atomic(f->path, "new-one \r\n", 10, 0600, NULL), 0);
    assert_true(allowed(f, SPY_AUTH_INGEST, "Bearer new-one"));
    assert_false(allowed(f, SPY_AUTH_INGEST, old));
}

static void test_a_missing_or_empty_file_leaves_the_last_token(void **state)
{
    struct fixture *f = *state;
    char old[600];
    snprintf(old, sizeof old, "%s", right(f));
    assert_int_equal(truncate(f->path, 0), 0);
    assert_true(allowed(f, SPY_AUTH_INGEST, old));
    unlink(f->path);
    assert_true(allowed(f, SPY_AUTH_INGEST, old));
    assert_false(allowed(f, SPY_AUTH_INGEST, "Bearer "));
}

static void test_an_empty_token_file_at_the_start_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct spy_auth *again = NULL;
    struct spy_err err = {0};
    assert_int_equal(truncate(f->path, 0), 0);
    struct spy_auth_options o = {.dir = f->dir, .ways = {SPY_AUTH_TOKEN, SPY_AUTH_TOKEN}};
    assert_int_equal(spy_auth_new(&o, &again, &err), SPY_ERR_INVALID);
    assert_null(again);
    assert_non_null(strstr(err.msg, "ingest.token"));
}

static void expect_header(struct fixture *f, const char *token)
{
    char path[128], text[600], expected[600];
    struct stat st;
    snprintf(path, sizeof path, "%s/read.header", f->dir);
    ssize_t n = spy_file_read_small(AT_FDCWD, path, text, sizeof text);
    int len = snprintf(expected, sizeof expected, "Authorization: Bearer %s\n", token);
    assert_int_equal(n, len);
    assert_string_equal(text, expected);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_the_header_file_follows_the_read_token(void **state)
{
    struct fixture *f = *state;
    char path[128], token[600];
    snprintf(path, sizeof path, "%s/read.token", f->dir);
    assert_true(spy_file_read_small(AT_FDCWD, path, token, sizeof token) > 0);
    token[strcspn(token, "\n")] = 0;
    expect_header(f, token);
    assert_int_equal(spy_file_write_atomic(path, "by-refresh\n", 11, 0600, NULL), 0);
    assert_int_equal(spy_auth_refresh(f->auth, NULL), 0);
    expect_header(f, "by-refresh");
    assert_int_equal(spy_file_write_atomic(path, "by-use", 6, 0600, NULL), 0);
    assert_true(allowed(f, SPY_AUTH_READ, "Bearer by-use"));
    expect_header(f, "by-use");
    // Nothing that would be two header lines.
    assert_int_equal(spy_file_write_atomic(path, "a\nX-Evil: 1", 11, 0600, NULL), 0);
    assert_int_equal(spy_auth_refresh(f->auth, NULL), 0);
    expect_header(f, "by-use");
}

static void test_without_credentials_every_request_is_refused(void **state)
{
    struct fixture *f = *state;
    struct spy_auth *closed = NULL;
    const char *why;
    struct spy_auth_options o = {.dir = f->dir, .ways = {SPY_AUTH_MTLS, 0}};
    struct spy_credential c = {.authorization = right(f)};
    assert_int_equal(spy_auth_new(&o, &closed, NULL), 0);
    assert_int_equal(spy_auth_check(closed, SPY_AUTH_INGEST, &c, false, &why), SPY_AUTH_UNKNOWN);
    assert_int_equal(spy_auth_check(closed, SPY_AUTH_READ, &c, false, &why), SPY_AUTH_UNKNOWN);
    spy_auth_free(closed);
}

RUN(cmocka_unit_test_setup_teardown(test_tokens_are_long_secret_and_distinct, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_a_nearly_right_token_is_refused, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_a_replaced_token_file_holds_at_once, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_a_missing_or_empty_file_leaves_the_last_token, set_up,
                                    tear_down),
    cmocka_unit_test_setup_teardown(test_an_empty_token_file_at_the_start_is_an_error, set_up,
                                    tear_down),
    cmocka_unit_test_setup_teardown(test_the_header_file_follows_the_read_token, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_without_credentials_every_request_is_refused, set_up,
                                    tear_down))
