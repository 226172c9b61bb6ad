#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/base/mem.h"
#include "shared/base/text.h"
#include "tests/unit/test.h"
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SNAKE "\xf0\x9f\x90\x8d"

static const struct {
    const char *text, *shown;
} cases[] = {
    {"", ""},
    {"plain text, \xc3\xa9" SNAKE, "plain text, \xc3\xa9" SNAKE},
    {"a\nb\rc\td", "a\\nb\\rc\\td"},
    {"\x1b[2J\x07\x7f", "\\x1b[2J\\x07\\x7f"},
    {"\xc2\x9b"
     "31m",
     "\\x9b31m"}, // C1: begins a sequence as ESC [ does
    {"\x9b"
     "31m",
     "\\x9b31m"}, // and so it does as a byte
    {"\xc2\x85|", "\\x85|"},
    {"\xe2\x80\xae"
     "evil\xe2\x81\xa6\xd8\x9c\xe2\x80\x8f",
     "\\u202eevil\\u2066\\u061c\\u200f"},
    {"\xe2\x80\xa8\xe2\x80\xa9", "\\u2028\\u2029"},
    {"\xe2\x80\x8b\xef\xbb\xbf\xf3\xa0\x81\x81", "\\u200b\\ufeff\\U000e0041"},
    {"\xe2\x80\x8d\xe2\x80\x8c", "\xe2\x80\x8d\xe2\x80\x8c"}, // the joiners of scripts and emoji
    {"\xed\xa0\x80", "\\xed\\xa0\\x80"},                      // a surrogate is not UTF-8
};

static void control_characters_are_escaped_as_python_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < SPY_COUNT(cases); i++) {
        _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(1000);
        char small[100];
        spy_buf_shown(&b, cases[i].text);
        assert_string_equal(spy_buf_str(&b), cases[i].shown);
        assert_string_equal(spy_text_show(small, sizeof small, cases[i].text), cases[i].shown);
    }
}

static void escaped_text_is_not_escaped_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < SPY_COUNT(cases); i++) {
        char out[100];
        assert_string_equal(spy_text_show(out, sizeof out, cases[i].shown), cases[i].shown);
    }
}

static void shown_text_is_cut_between_characters(void **state)
{
    (void)state;
    char out[16];
    for (size_t size = 1; size <= sizeof out; size++) {
        spy_text_show(out, size, SNAKE "\n\x1b" SNAKE);
        assert_in_range(strlen(out), 0, size - 1);
        const char *whole[] = {"", SNAKE, SNAKE "\\n", SNAKE "\\n\\x1b", SNAKE "\\n\\x1b" SNAKE};
        bool found = false;
        for (size_t i = 0; i < SPY_COUNT(whole); i++)
            found = found || !strcmp(out, whole[i]);
        assert_true(found);
    }
}

static void json_is_the_same_text_and_fit_for_a_terminal(void **state)
{
    (void)state;
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(1000);
    const char *text = "\"\n\xc2\x9b\xe2\x80\xae\xf3\xa0\x81\x81" SNAKE;
    spy_buf_json(&b, text, strlen(text));
    assert_string_equal(spy_buf_str(&b), "\\\"\\u000a\\u009b\\u202e\\udb40\\udc41" SNAKE);
}

static void a_label_is_one_line_for_every_reader(void **state)
{
    (void)state;
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(1000);
    const char *text = "a\nb\xc2\x85"
                       "c\xe2\x80\xa8"
                       "d\xe2\x80\x8f";
    spy_buf_text(&b, text, strlen(text), 100);
    assert_string_equal(spy_buf_str(&b), "a b c\xef\xbf\xbd"
                                         "d\xef\xbf\xbd");
}

static void text_that_is_cut_stays_as_it_is(void **state)
{
    (void)state;
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(1000);
    spy_buf_cut(&b, "a\n\x1b\xe2\x80\xae\xff" SNAKE, 11, 7);
    assert_string_equal(spy_buf_str(&b), "a\n\x1b\xe2\x80\xae\xef\xbf\xbd\xe2\x80\xa6");
}

static void errors_quote_names_as_they_are_shown(void **state)
{
    (void)state;
    struct spy_err e = {0};
    spy_err_set(&e, SPY_ERR_INVALID, 0, "cannot read %s", "x\n\xc2\x9b\xe2\x80\xae");
    assert_string_equal(e.msg, "cannot read x\\n\\x9b\\u202e");
    spy_err_context(&e, SPY_ERR_INVALID, "on\xe2\x80\xa8the way");
    assert_string_equal(e.msg, "on\\u2028the way: cannot read x\\n\\x9b\\u202e");
}

// What a log line of text looks like, written by a child into a pipe.
static void read_log(const char *text, char *out, size_t size)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    if (fork() == 0) {
        dup2(ends[1], STDERR_FILENO);
        spy_log(SPY_LOG_INFO, text, SPY_S("key", text));
        _exit(0);
    }
    close(ends[1]);
    size_t len = 0;
    for (ssize_t n; len < size - 1 && (n = read(ends[0], out + len, size - 1 - len)) > 0;)
        len += (size_t)n;
    out[len] = 0;
    close(ends[0]);
    wait(NULL);
}

static void log_lines_hold_no_control_characters(void **state)
{
    (void)state;
    char line[1000];
    read_log("a\nb\x1b\xc2\x9b\xe2\x80\xae", line, sizeof line);
    assert_non_null(strstr(line, "msg=\"a\\u000ab\\u001b\\u009b\\u202e\" key=\"a\\u000ab"));
    assert_int_equal(strcspn(line, "\n"), strlen(line) - 1);
}

RUN(T(control_characters_are_escaped_as_python_does), T(escaped_text_is_not_escaped_again),
    T(shown_text_is_cut_between_characters), T(json_is_the_same_text_and_fit_for_a_terminal),
    T(a_label_is_one_line_for_every_reader), T(text_that_is_cut_stays_as_it_is),
    T(errors_quote_names_as_they_are_shown), T(log_lines_hold_no_control_characters))
