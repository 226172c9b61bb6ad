#include "collector/auth/tls.h"
#include "shared/base/file.h"
#include "tests/unit/test.h"
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

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

static int load_files(const char *folder, const char *cert, const char *key, struct spy_tls **ret,
                      struct spy_err *err)
{
    struct spy_tls_options o = {.dir = folder, .cert_file = cert, .key_file = key};
    return spy_tls_new(&o, ret, err);
}

static int load(struct spy_tls **ret, struct spy_err *err)
{
    return load_files(dir, NULL, NULL, ret, err);
}

// What a new connection is shown.
static gnutls_x509_crt_t shown(struct spy_tls *t)
{
    gnutls_pcert_st *chain;
    gnutls_privkey_t key;
    gnutls_x509_crt_t c;
    unsigned n;
    spy_tls_current(t, &chain, &n, &key);
    assert_int_equal(n, 1);
    assert_int_equal(gnutls_pcert_export_x509(chain, &c), 0);
    return c;
}

static bool same_shown(struct spy_tls *x, struct spy_tls *y)
{
    gnutls_x509_crt_t a = shown(x), b = shown(y);
    bool same = gnutls_x509_crt_equals(a, b);
    gnutls_x509_crt_deinit(a);
    gnutls_x509_crt_deinit(b);
    return same;
}

static gnutls_x509_crt_t import(const char *pem)
{
    gnutls_x509_crt_t c;
    gnutls_datum_t d = {(unsigned char *)(uintptr_t)pem, (unsigned)strlen(pem)};
    assert_int_equal(gnutls_x509_crt_init(&c), 0);
    assert_int_equal(gnutls_x509_crt_import(c, &d, GNUTLS_X509_FMT_PEM), 0);
    return c;
}

static void test_the_first_start_creates_a_chain_that_verifies(void **state)
{
    (void)state;
    struct spy_tls *t = NULL;
    struct stat st;
    char ca_pem[4096];
    unsigned status = 1;
    assert_int_equal(load(&t, NULL), 0);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(stat(path(files[i]), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
    }
    assert_true(spy_file_read_small(-100, path("ca.pem"), ca_pem, sizeof ca_pem) > 0);
    gnutls_x509_crt_t ca = import(ca_pem), server = shown(t);
    assert_int_equal(gnutls_x509_crt_verify(server, &ca, 1, 0, &status), 0);
    assert_int_equal(status, 0);
    assert_true(gnutls_x509_crt_check_hostname(server, "localhost"));
    assert_true(gnutls_x509_crt_check_hostname(server, "podspy-collector.podspy.svc"));
    assert_true(gnutls_x509_crt_check_ip(server, (const unsigned char *)"\x7f\0\0\1", 4, 0));
    assert_false(gnutls_x509_crt_check_hostname(server, "example.org"));
    assert_true(gnutls_x509_crt_get_expiration_time(server) > time(NULL) + 300 * 86400);
    assert_int_equal(gnutls_x509_crt_get_ca_status(server, NULL), 0);
    gnutls_x509_crt_deinit(ca);
    gnutls_x509_crt_deinit(server);
    spy_tls_free(t);
}

static void test_the_next_start_uses_the_existing_chain(void **state)
{
    (void)state;
    struct spy_tls *a = NULL, *b = NULL;
    assert_int_equal(load(&a, NULL), 0);
    assert_int_equal(load(&b, NULL), 0);
    assert_true(same_shown(a, b));
    spy_tls_free(a);
    spy_tls_free(b);
}

static void test_a_damaged_server_certificate_is_renewed_under_the_same_ca(void **state)
{
    (void)state;
    struct spy_tls *a = NULL, *b = NULL;
    char before[4096], after[4096];
    assert_int_equal(load(&a, NULL), 0);
    assert_true(spy_file_read_small(-100, path("ca.pem"), before, sizeof before) > 0);
    overwrite("server.pem", "-----BEGIN CERTIFICATE-----\nnonsense\n");
    assert_int_equal(load(&b, NULL), 0);
    assert_true(spy_file_read_small(-100, path("ca.pem"), after, sizeof after) > 0);
    assert_string_equal(before, after);
    assert_false(same_shown(a, b));
    spy_tls_free(a);
    spy_tls_free(b);
}

static void test_a_damaged_ca_is_an_error_and_never_replaced(void **state)
{
    (void)state;
    struct spy_tls *t = NULL;
    struct spy_err err = {0};
    assert_int_equal(load(&t, NULL), 0);
    spy_tls_free(t);
    t = NULL;
    overwrite("ca.key", "-----BEGIN nonsense\n");
    assert_int_equal(load(&t, &err), SPY_ERR_INVALID);
    assert_non_null(strstr(err.msg, "ca.pem"));
    assert_null(t);
    overwrite("ca.key", ""); // a full disk leaves such
    assert_int_equal(load(&t, &err), SPY_ERR_INVALID);
    assert_int_equal(unlink(path("ca.key")), 0);
    assert_int_equal(load(&t, &err), SPY_ERR_INVALID);
}

static void test_an_interrupted_first_start_is_repeated(void **state)
{
    (void)state;
    struct spy_tls *t = NULL;
    overwrite("ca.key", "-----BEGIN ");
    assert_int_equal(load(&t, NULL), 0);
    assert_non_null(t);
    spy_tls_free(t);
}

static void test_configured_files_are_used_and_must_be_pem(void **state)
{
    (void)state;
    struct spy_tls *t = NULL;
    struct spy_err err = {0};
    char cert[128], key[128];
    assert_int_equal(load(&t, NULL), 0);
    spy_tls_free(t);
    snprintf(cert, sizeof cert, "%s", path("server.pem"));
    snprintf(key, sizeof key, "%s", path("server.key"));
    assert_int_equal(load_files("/nonexistent", cert, key, &t, NULL), 0);
    spy_tls_free(t);
    overwrite("server.key", "no pem at all");
    assert_int_equal(load_files(dir, cert, key, &t, &err), SPY_ERR_INVALID);
    assert_non_null(strstr(err.msg, "server.key"));
    assert_true(load_files(dir, "/nonexistent", key, &t, &err) < 0);
}

static void test_changed_files_are_used_once_they_are_a_pair(void **state)
{
    (void)state;
    struct spy_tls *own = NULL, *t = NULL;
    struct spy_err err = {0};
    char cert[128], key[128], old_key[4096];
    assert_int_equal(load(&own, NULL), 0);
    snprintf(cert, sizeof cert, "%s", path("server.pem"));
    snprintf(key, sizeof key, "%s", path("server.key"));
    assert_true(spy_file_read_small(-100, key, old_key, sizeof old_key) > 0);
    assert_int_equal(load_files(dir, cert, key, &t, NULL), 0);
    assert_true(same_shown(t, own));
    gnutls_pcert_st *before, *after;
    gnutls_privkey_t k;
    unsigned n;
    spy_tls_current(t, &before, &n, &k);
    assert_int_equal(spy_tls_refresh(t, NULL), 0);
    spy_tls_current(t, &after, &n, &k);
    assert_ptr_equal(before, after); // the same file is not another certificate
    unlink(cert);
    assert_int_equal(spy_tls_refresh(own, NULL), 0); // makes another one
    assert_false(same_shown(t, own));
    char new_key[4096];
    assert_true(spy_file_read_small(-100, key, new_key, sizeof new_key) > 0);
    overwrite("server.key", old_key);
    assert_int_equal(spy_tls_refresh(t, &err), SPY_ERR_INVALID);
    assert_non_null(strstr(err.msg, "pair"));
    assert_false(same_shown(t, own));
    overwrite("server.key", new_key);
    assert_int_equal(spy_tls_refresh(t, NULL), 0);
    assert_true(same_shown(t, own));
    spy_tls_current(t, &after, &n, &k);
    assert_ptr_not_equal(before, after);
    assert_non_null(before->pubkey); // a handshake may still use it
    spy_tls_free(own);
    spy_tls_free(t);
}

RUN(cmocka_unit_test_setup_teardown(test_the_first_start_creates_a_chain_that_verifies, set_up,
                                    tear_down),
    cmocka_unit_test_setup_teardown(test_the_next_start_uses_the_existing_chain, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_a_damaged_server_certificate_is_renewed_under_the_same_ca,
                                    set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_a_damaged_ca_is_an_error_and_never_replaced, set_up,
                                    tear_down),
    cmocka_unit_test_setup_teardown(test_an_interrupted_first_start_is_repeated, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_configured_files_are_used_and_must_be_pem, set_up,
                                    tear_down),
    cmocka_unit_test_setup_teardown(test_changed_files_are_used_once_they_are_a_pair, set_up,
                                    tear_down))
