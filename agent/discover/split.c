#include "agent/discover/split.h"
#include <string.h>

void spy_split_init(struct spy_split *s, spy_split_fn fn, void *arg)
{
    *s = (struct spy_split){.fn = fn,
                            .arg = arg,
                            .item = SPY_BUF_INIT(SPY_SPLIT_ITEM),
                            .head = SPY_BUF_INIT(SPY_SPLIT_HEAD)};
}

void spy_split_free(struct spy_split *s)
{
    spy_buf_free(&s->item);
    spy_buf_free(&s->head);
}

static size_t skip_space_back(const char *text, size_t n)
{
    while (n && strchr(" \t\r\n", text[n - 1]))
        n--;
    return n;
}

// Does the head end with: "items" :
static bool after_items_key(const struct spy_split *s)
{
    static const char key[] = "\"items\"";
    const char *text = spy_buf_str(&s->head);
    size_t n = skip_space_back(text, s->head.len);
    if (!n || text[n - 1] != ':')
        return false;
    n = skip_space_back(text, n - 1);
    return n > sizeof key - 1 && memcmp(text + n - (sizeof key - 1), key, sizeof key - 1) == 0 &&
           text[n - sizeof key] != '\\';
}

static void end_item(struct spy_split *s)
{
    if (s->item.failed)
        s->skipped++;
    else
        s->fn(s->arg, spy_buf_str(&s->item), s->item.len);
    spy_buf_reset(&s->item);
}

static void in_string(struct spy_split *s, char c)
{
    if (s->escaped)
        s->escaped = false;
    else if (c == '\\')
        s->escaped = true;
    else if (c == '"')
        s->quoted = false;
}

static void take_bracket(struct spy_split *s, char c)
{
    bool opens = c == '{' || c == '[';
    if (opens && c == '[' && s->depth == 1)
        s->items = after_items_key(s);
    if (!opens && s->items && s->depth == 2)
        s->items = false;
    s->depth = opens ? s->depth + 1 : s->depth ? s->depth - 1 : 0;
}

static void take_byte(struct spy_split *s, char c)
{
    bool inside = s->items && s->depth >= 3; // of an item, before this byte
    bool was_items = s->items;
    if (s->quoted)
        in_string(s, c);
    else if (c == '"')
        s->quoted = true;
    else if (c && strchr("{}[]", c))
        take_bracket(s, c);
    if (inside || (was_items && s->items && s->depth >= 3))
        spy_buf_putc(&s->item, c);
    else if (!was_items || !s->items)
        spy_buf_putc(&s->head, c);
    if (inside && s->depth == 2)
        end_item(s);
}

int spy_split_feed(struct spy_split *s, const char *data, size_t len)
{
    for (size_t i = 0; i < len && !s->head.failed; i++)
        take_byte(s, data[i]);
    return s->head.failed;
}
