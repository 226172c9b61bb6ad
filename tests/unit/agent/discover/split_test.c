#include "agent/discover/split.h"
#include "shared/base/err.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char got[4096];

static void on_item(void *arg, const char *item, size_t len)
{
    (void)arg;
    size_t n = strlen(got);
    snprintf(got + n, sizeof got - n, "%.*s|", (int)len, item);
}

// Fed in pieces of each size: the cuts must not matter.
static void check(const char *text, const char *items, const char *head)
{
    for (size_t step = 1; step <= strlen(text); step++) {
        struct spy_split s;
        spy_split_init(&s, on_item, NULL);
        got[0] = 0;
        for (size_t at = 0, n = strlen(text); at < n; at += step)
            assert_int_equal(spy_split_feed(&s, text + at, n - at < step ? n - at : step), 0);
        assert_string_equal(got, items);
        assert_string_equal(spy_buf_str(&s.head), head);
        spy_split_free(&s);
    }
}

static void items_come_one_by_one(void **state)
{
    (void)state;
    check("{\"a\":1,\"items\":[{\"b\":[1,{}]}, {\"c\":2}\n],\"z\":[3]}",
          "{\"b\":[1,{}]}|{\"c\":2}|", "{\"a\":1,\"items\":[],\"z\":[3]}");
    check("{ \"items\" : [ ] }", "", "{ \"items\" : [] }");
    check("{\"items\":null}", "", "{\"items\":null}");
}

static void strings_hide_brackets_and_quotes(void **state)
{
    (void)state;
    check("{\"items\":[{\"a\":\"]}\\\"[{\\\\\"},{}]}", "{\"a\":\"]}\\\"[{\\\\\"}|{}|",
          "{\"items\":[]}");
}

static void nested_items_are_not_split(void **state)
{
    (void)state;
    check("{\"m\":{\"items\":[{}]}}", "", "{\"m\":{\"items\":[{}]}}");
    check("{\"x\\\"items\":[{}]}", "", "{\"x\\\"items\":[{}]}");
    check("{\"items\":[{\"items\":[{}]}]}", "{\"items\":[{}]}|", "{\"items\":[]}");
    check("[\"items\",[{}]]", "", "[\"items\",[{}]]");
}

static void an_item_over_the_limit_is_skipped(void **state)
{
    (void)state;
    struct spy_split s;
    spy_split_init(&s, on_item, NULL);
    got[0] = 0;
    char *huge = malloc(SPY_SPLIT_ITEM);
    memset(huge, 'x', SPY_SPLIT_ITEM);
    assert_int_equal(spy_split_feed(&s, "{\"items\":[{\"a\":\"", 16), 0);
    assert_int_equal(spy_split_feed(&s, huge, SPY_SPLIT_ITEM), 0);
    assert_int_equal(spy_split_feed(&s, "\"},{\"b\":1}]}", 12), 0);
    assert_int_equal(s.skipped, 1);
    assert_string_equal(got, "{\"b\":1}|");
    // and what is not a list at all comes to an end
    int r = 0;
    for (int i = 0; i < 2 && r == 0; i++)
        r = spy_split_feed(&s, huge, SPY_SPLIT_ITEM);
    assert_int_equal(r, SPY_ERR_LIMIT);
    free(huge);
    spy_split_free(&s);
}

RUN(T(items_come_one_by_one), T(strings_hide_brackets_and_quotes), T(nested_items_are_not_split),
    T(an_item_over_the_limit_is_skipped))
