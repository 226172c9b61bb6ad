#include "agent/top/screen.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <locale.h>
#include <string.h>

static void check_fit(const char *text, unsigned columns, bool ascii, const char *expected,
                      unsigned taken)
{
    struct spy_buf out = SPY_BUF_INIT(4096);
    assert_int_equal(spy_top_fit(&out, text, columns, ascii), taken);
    assert_string_equal(spy_buf_str(&out), expected);
    spy_buf_free(&out);
}

static void text_is_cut_by_columns_with_an_ellipsis(void **state)
{
    (void)state;
    check_fit("short", 5, false, "short", 5);
    check_fit("longer", 5, false, "long\u2026", 5);
    check_fit("longer", 5, true, "lo...", 5);
    check_fit("longer", 1, false, "\u2026", 1);
    check_fit("longer", 0, false, "", 0);
    check_fit("longer", 2, true, "lo", 2);
    check_fit("\u754c\u754c\u754c", 6, false, "\u754c\u754c\u754c", 6); // two columns each
    check_fit("\u754c\u754c\u754c", 5, false, "\u754c\u754c\u2026", 5);
    check_fit("\u754c\u754c\u754c", 4, false, "\u754c\u2026", 3);
    check_fit("e\u0301e\u0301", 2, false, "e\u0301e\u0301", 2); // combining: none
    check_fit("h\u00e9", 5, true, "h?", 2);
}

static void unfit_text_is_escaped(void **state)
{
    (void)state;
    check_fit("a\x1b[2J\n\xff", 40, false, "a\\x1b[2J\\n\\xff", 14);
    check_fit("\u202e", 40, false, "\\u202e", 6);
}

static struct spy_top_row rows[] = {
    {.name = "Parser.parse_expression_list",
     .file = "package/module_with_a_long_name/submodule.py",
     .line = 1234,
     .percents = {100, 2345.6},
     .secs = {1.5, 1234567}},
    {.name = "f", .file = "f.py", .line = 1, .percents = {0, 1}, .secs = {0, 0.01}},
    {.name = "[other code]", .file = "", .percents = {0, 0}, .secs = {0.5, 0.5}},
};

static void lay(struct spy_top_screen *s, struct spy_top_look *look, struct spy_buf *out)
{
    struct spy_top_picture picture = {.rows = rows,
                                      .n = SPY_COUNT(rows),
                                      .n_matching = SPY_COUNT(rows),
                                      .n_all = SPY_COUNT(rows)};
    picture.summary = (struct spy_top_summary){
        .begun = true,
        .facts = {.command = "python3 app.py", .version = "3.12.1", .pid = 42, .samples = 1000},
        .samples_per_sec = 100,
        .threads = 3,
        .gil = 98,
        .active = 143,
        .n_waiters = 1,
        .waiters = {{"worker", 55}},
    };
    spy_top_screen_lay(s, &picture, look);
    assert_int_equal(spy_top_screen_text(s, out), 0);
}

static void columns_are_aligned_and_long_places_are_cut(void **state)
{
    (void)state;
    struct spy_top_screen s = {.width = 80, .height = 10};
    struct spy_top_look look;
    struct spy_buf out = SPY_BUF_INIT(1 << 16);
    spy_top_look_init(&look);
    lay(&s, &look, &out);
    assert_string_equal(
        spy_buf_str(&out),
        "python3 app.py                                             pid 42, Python 3.12.1\n"
        "Samples 1000 (100/s)  Errors 0  Late rounds 0\n"
        "GIL 98%  Active 143%  Threads 3\n"
        "1 thread waits for the GIL: worker 55%\n"
        "\n"
        "   %Own  %Total >OwnTime  TotalTime  Function (filename:line)\n"
        "100.00%   2346%    1.50s   1234567s  Parser.parse_expr\u2026 "
        "(\u2026ame/submodule.py:1234)\n"
        "  0.00%   1.00%    0.00s      0.01s  f (f.py:1)\n"
        "  0.00%   0.00%    0.50s      0.50s  [other code]\n"
        "q quit  1-4 sort  l lines/functions  r reset  / filter  ? help\n");
    spy_buf_free(&out);
    spy_top_screen_free(&s);
}

static void no_size_is_too_small(void **state)
{
    (void)state;
    for (unsigned width = 0; width < 60; width += 3)
        for (unsigned height = 0; height < 12; height++) {
            struct spy_top_screen s = {.width = width, .height = height};
            struct spy_top_look look;
            struct spy_buf out = SPY_BUF_INIT(1 << 16);
            spy_top_look_init(&look);
            look.help = width % 2;
            lay(&s, &look, &out);
            size_t lines = 0;
            for (const char *at = spy_buf_str(&out); (at = strchr(at, '\n')); at++)
                lines++;
            assert_in_range(lines, 1, height ? height : 1);
            spy_buf_free(&out);
            spy_top_screen_free(&s);
        }
}

int main(void)
{
    setlocale(LC_CTYPE, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        T(text_is_cut_by_columns_with_an_ellipsis),
        T(unfit_text_is_escaped),
        T(columns_are_aligned_and_long_places_are_cut),
        T(no_size_is_too_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
