// Which targets and hosts are taken.
#include "collector/http/strict.h"
#include "tests/unit/test.h"

static void test_request_targets_are_checked(void **state)
{
    static const char *const good[] = {"/", "/profiles?pod=a%20b", "/pods?include=%2B%25", "*",
                                       "/caf\xc3\xa9?x=%E2%82%AC"};
    static const char *const bad[] = {"/a b", "/%00", "/x%00y", "/%0d%0a", "/%1f", "/%7F",
                                      "/%",   "/%4",  "/\x01",  "/\x7f",   "/%g0", "/%0g"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(spy_strict_target_is_good(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(spy_strict_target_is_good(bad[i]));
}

static void test_host_headers_are_checked(void **state)
{
    static const char *const good[] = {
        "localhost", "LOCALHOST:80", "127.0.0.1:", "[::1]", "[::ffff:127.0.0.1]:8080", "a-b.c_d"};
    static const char *const bad[] = {"",    ":80",   "[",      "[]",       "[::1",    "::1]",
                                      "a b", "a@b",   "a:b",    "a:1:2",    "[::1]a",  "[x]",
                                      "a/b", "a\x01", "a[::1]", "[::1]:8a", "\xc3\xa9"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(spy_strict_host_is_good(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(spy_strict_host_is_good(bad[i]));
}

RUN(T(test_request_targets_are_checked), T(test_host_headers_are_checked))
