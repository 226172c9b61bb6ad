// Which files hold a token, and which tokens may be sent.
#include "shared/base/err.h"
#include "shared/base/mem.h"
#include "shared/base/token.h"
#include "temp_file.h"
#include <string.h>

static char out[16];

static void white_space_around_a_token_is_not_part_of_it(void **state)
{
    (void)state;
    write_file(path, " \tgood\r\n", 8);
    assert_null(spy_token_read_to_send(path, out, sizeof out));
    assert_string_equal(out, "good");
    write_file(path, "a b \n", 5); // the server's own token may be any text
    assert_int_equal(spy_token_read(path, out, sizeof out), 3);
    assert_string_equal(out, "a b");
}

static void a_token_that_breaks_a_header_is_not_sent(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
        const char *fault;
    } rows[] = {
        {"", 0, "is empty"},
        {"\n", 1, "is empty"},
        {"a b", 3, "visible"},
        {"a\r\nX: 1", 7, "visible"},
        {"\xff", 1, "visible"},
        {"a\0b", 3, "visible"},
        {"0123456789abcdef", 16, "too long"},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        write_file(path, rows[i].text, rows[i].len);
        const char *fault = spy_token_read_to_send(path, out, sizeof out);
        if (!fault || !strstr(fault, rows[i].fault))
            fail_msg("row %zu: %s", i, fault ? fault : "accepted");
    }
}

static void a_missing_file_holds_no_token(void **state)
{
    (void)state;
    unlink(path);
    assert_int_equal(spy_token_read(path, out, sizeof out), SPY_ERR_GONE);
    assert_string_equal(spy_token_read_to_send(path, out, sizeof out), "cannot be read");
}

RUN(TEST(white_space_around_a_token_is_not_part_of_it),
    TEST(a_token_that_breaks_a_header_is_not_sent), TEST(a_missing_file_holds_no_token))
