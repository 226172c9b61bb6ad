#include "agent/top/look.h"
#include "tests/unit/test.h"
#include <string.h>

static void type_keys(struct spy_top_look *l, const char *keys)
{
    for (; *keys; keys++)
        spy_top_look_key(l, (unsigned char)*keys);
}

static void keys_sort_switch_and_ask(void **state)
{
    (void)state;
    struct spy_top_look l;
    spy_top_look_init(&l);
    assert_int_equal(l.choice.sort, SPY_TOP_OWN_TIME);
    type_keys(&l, "2L");
    assert_int_equal(l.choice.sort, SPY_TOP_TOTAL_PERCENT);
    assert_true(l.choice.functions);
    type_keys(&l, "l?");
    assert_true(!l.choice.functions && l.help);
    type_keys(&l, "4"); // leaves the help, and does nothing else
    assert_true(!l.help && l.choice.sort == SPY_TOP_TOTAL_PERCENT);
    type_keys(&l, "R");
    assert_true(l.reset && !l.quit);
    type_keys(&l, "?q");
    assert_true(l.quit);
    spy_top_look_done(&l);
}

static void an_expression_is_typed_mended_and_dropped(void **state)
{
    (void)state;
    struct spy_top_look l;
    spy_top_look_init(&l);
    type_keys(&l, "/q1\u00e9");
    spy_top_look_key(&l, SPY_TOP_KEY_BACKSPACE); // all bytes of the letter
    assert_string_equal(l.typed, "q1");
    assert_true(l.typing && !l.quit);
    spy_top_look_key(&l, SPY_TOP_KEY_ENTER);
    assert_true(!l.typing && l.choice.filter);
    assert_string_equal(l.filter, "q1");
    type_keys(&l, "/(");
    spy_top_look_key(&l, SPY_TOP_KEY_ENTER);
    assert_string_equal(l.filter, "q1"); // the faulty one changes nothing
    assert_true(*l.message);
    type_keys(&l, "/x");
    spy_top_look_key(&l, SPY_TOP_KEY_ESCAPE);
    assert_string_equal(l.filter, "q1");
    type_keys(&l, "/");
    spy_top_look_key(&l, SPY_TOP_KEY_ENTER);
    assert_null(l.choice.filter);
    spy_top_look_done(&l);
}

static void typing_is_bounded_and_scrolling_stops_at_the_first(void **state)
{
    (void)state;
    struct spy_top_look l;
    spy_top_look_init(&l);
    type_keys(&l, "/");
    for (int i = 0; i < 1000; i++)
        type_keys(&l, "x");
    assert_int_equal(strlen(l.typed), sizeof l.typed - 1);
    spy_top_look_key(&l, SPY_TOP_KEY_ESCAPE);
    l.page = 10;
    spy_top_look_key(&l, SPY_TOP_KEY_UP);
    assert_int_equal(l.choice.first, 0);
    spy_top_look_key(&l, SPY_TOP_KEY_PAGE_DOWN);
    spy_top_look_key(&l, SPY_TOP_KEY_DOWN);
    assert_int_equal(l.choice.first, 11);
    spy_top_look_key(&l, SPY_TOP_KEY_PAGE_UP);
    assert_int_equal(l.choice.first, 1);
    spy_top_look_key(&l, SPY_TOP_KEY_HOME);
    assert_int_equal(l.choice.first, 0);
    spy_top_look_done(&l);
}

RUN(T(keys_sort_switch_and_ask), T(an_expression_is_typed_mended_and_dropped),
    T(typing_is_bounded_and_scrolling_stops_at_the_first))
