#include "collector/auth/tls.h"
#include "shared/base/file.h"
#include <gnutls/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

static const char *const files[] = {"ca.pem", "ca.key", "server.pem", "server.key"};
static char dir[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/podspy-tls-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static const char *path(const char *name)
{
    static char text[128];
    snprintf(text, sizeof text, "%s/%s", dir, name);
    return text;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++)
        unlink(path(files[i]));
    return rmdir(dir);
}

static void overwrite(const char *name, const char *text)
{
    assert_int_equal(spy_file_write_atomic(path(name), text, strlen(text), 0600, NULL), 0);
}

static gnutls_x509_crt_t import(const char *pem)
{
    gnutls_x509_crt_t c;
    gnutls_datum_t d = {(unsigned char *)(uintptr_t)pem, (unsigned)strlen(pem)};
    assert_int_equal(gnutls_x509_crt_init(&c), 0);
    assert_int_equal(gnutls_x509_crt_import(c, &d, GNUTLS_X509_FMT_PEM), 0);
    return c;
}

static void test_the_first_start_makes_a_chain_that_verifies(void **state)
{
    (void)state;
    struct spy_tls t = {0};
    struct stat st;
    char ca_pem[4096];
    unsigned status = 1;
    assert_int_equal(spy_tls_load(dir, NULL, NULL, NULL, &t, NULL), 0);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(stat(path(files[i]), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
    }
    assert_true(spy_file_read_small(-100, path("ca.pem"), ca_pem, sizeof ca_pem) > 0);
    gnutls_x509_crt_t ca = import(ca_pem), server = import(t.cert_pem);
    assert_int_equal(gnutls_x509_crt_verify(server, &ca, 1, 0, &status), 0);
    assert_int_equal(status, 0);
    assert_true(gnutls_x509_crt_check_hostname(server, "localhost"));
    assert_true(gnutls_x509_crt_check_hostname(server, "podspy-collector.podspy.svc"));
    assert_true(gnutls_x509_crt_check_ip(server, (const unsigned char *)"\x7f\0\0\1", 4, 0));
    assert_false(gnutls_x509_crt_check_hostname(server, "example.org"));
    assert_true(gnutls_x509_crt_get_expiration_time(server) > time(NULL) + 300 * 86400);
    assert_int_equal(gnutls_x509_crt_get_ca_status(server, NULL), 0);
    assert_null(t.client_ca_pem);
    gnutls_x509_crt_deinit(ca);
    gnutls_x509_crt_deinit(server);
    spy_tls_free(&t);
}

static void test_the_next_start_takes_what_is_there(void **state)
{
    (void)state;
    struct spy_tls a = {0}, b = {0};
    assert_int_equal(spy_tls_load(dir, NULL, NULL, NULL, &a, NULL), 0);
    assert_int_equal(spy_tls_load(dir, NULL, NULL, NULL, &b, NULL), 0);
    assert_string_equal(a.cert_pem, b.cert_pem);
    assert_string_equal(a.key_pem, b.key_pem);
    spy_tls_free(&a);
    spy_tls_free(&b);
}

static void test_a_damaged_server_certificate_is_made_anew_under_the_same_ca(void **state)
{
    (void)state;
    struct spy_tls a = {0}, b = {0};
    char before[4096], after[4096];
    assert_int_equal(spy_tls_load(dir, NULL, NULL, NULL, &a, NULL), 0);
    assert_true(spy_file_read_small(-100, path("ca.pem"), before, sizeof before) > 0);
    overwrite("server.pem", "-----BEGIN CERTIFICATE-----\nnonsense\n");
    assert_int_equal(spy_tls_load(dir, NULL, NULL, NULL, &b, NULL), 0);
    assert_true(spy_file_read_small(-100, path("ca.pem"), after, sizeof after) > 0);
    assert_string_equal(before, after);
    assert_string_not_equal(a.cert_pem, b.cert_pem);
    spy_tls_free(&a);
    spy_tls_free(&b);
}

static void test_a_damaged_ca_is_an_error_and_never_replaced(void **state)
{
    (void)state;
    struct spy_tls t = {0};
    struct spy_err err = {0};
    assert_int_equal(spy_tls_load(dir, NULL, NULL, NULL, &t, NULL), 0);
    spy_tls_free(&t);
    overwrite("ca.key", "-----BEGIN nonsense\n");
    assert_int_equal(spy_tls_load(dir, NULL, NULL, NULL, &t, &err), SPY_ERR_INVALID);
    assert_non_null(strstr(err.msg, "ca.pem"));
    assert_null(t.cert_pem);
}

static void test_given_files_are_taken_and_must_be_pem(void **state)
{
    (void)state;
    struct spy_tls t = {0};
    struct spy_err err = {0};
    char cert[128], key[128];
    assert_int_equal(spy_tls_load(dir, NULL, NULL, NULL, &t, NULL), 0);
    spy_tls_free(&t);
    snprintf(cert, sizeof cert, "%s", path("server.pem"));
    snprintf(key, sizeof key, "%s", path("server.key"));
    assert_int_equal(spy_tls_load("/nonexistent", cert, key, cert, &t, NULL), 0);
    assert_non_null(t.client_ca_pem);
    spy_tls_free(&t);
    overwrite("server.key", "no pem at all");
    assert_int_equal(spy_tls_load(dir, cert, key, NULL, &t, &err), SPY_ERR_INVALID);
    assert_non_null(strstr(err.msg, "server.key"));
    assert_true(spy_tls_load(dir, "/nonexistent", key, NULL, &t, &err) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_first_start_makes_a_chain_that_verifies, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_next_start_takes_what_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_a_damaged_server_certificate_is_made_anew_under_the_same_ca, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_damaged_ca_is_an_error_and_never_replaced, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_given_files_are_taken_and_must_be_pem, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
