// fit.c - text cut to a number of columns.
#include "agent/top/screen.h"
#include "shared/base/mem.h"
#include "shared/base/text.h"
#include <string.h>
#include <wchar.h>

// The columns of the character at s, and its length in *ret_len.
static unsigned measure_character(const char *s, size_t left, bool ascii, size_t *ret_len)
{
    size_t n = spy_utf8_len(s, left); // escaped text is valid UTF-8
    *ret_len = n ? n : 1;
    if (ascii || n < 2)
        return 1;
    int columns = wcwidth((wchar_t)spy_utf8_code(s, n));
    return columns < 0 ? 1 : (unsigned)columns;
}

static void append_character(struct spy_buf *out, const char *s, size_t len, bool ascii)
{
    bool known = len < 2 || wcwidth((wchar_t)spy_utf8_code(s, len)) >= 0;
    if (len > 1 && (ascii || !known))
        spy_buf_putc(out, '?');
    else
        spy_buf_append(out, s, len);
}

static void cut_to_width(struct spy_buf *b, size_t len)
{
    b->len = len;
    if (b->data)
        b->data[len] = 0;
}

unsigned spy_top_fit(struct spy_buf *out, const char *text, unsigned columns, bool ascii)
{
    _cleanup_buf_ struct spy_buf shown = SPY_BUF_INIT(1 << 16);
    const char *ellipsis = ascii ? "..." : "\u2026";
    unsigned taken = 0, reserve = ascii ? 3 : 1;
    if (columns < reserve) {
        ellipsis = "";
        reserve = 0;
    }
    size_t cut = out->len; // where the ellipsis would go
    unsigned at_cut = 0;
    spy_buf_shown(&shown, text);
    const char *s = spy_buf_str(&shown);
    for (size_t left = shown.len, len; left; s += len, left -= len) {
        unsigned wide = measure_character(s, left, ascii, &len);
        if (taken + wide > columns) {
            cut_to_width(out, cut);
            spy_buf_puts(out, ellipsis);
            return at_cut + reserve;
        }
        append_character(out, s, len, ascii);
        taken += wide;
        if (taken + reserve <= columns) {
            cut = out->len;
            at_cut = taken;
        }
    }
    return taken;
}
