#include "shared/base/buf.h"
#include "shared/base/err.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void spy_buf_free(struct spy_buf *b)
{
    free(b->data);
    *b = (struct spy_buf){.max = b->max};
}

uint8_t *spy_buf_reserve(struct spy_buf *b, size_t len)
{
    if (b->failed)
        return NULL;
    if (len > b->max || b->len > b->max - len || b->len + len >= SIZE_MAX / 2) {
        b->failed = SPY_ERR_LIMIT;
        return NULL;
    }
    size_t need = b->len + len + 1; // the NUL lies beyond max
    if (need > b->cap) {
        size_t n = b->cap ? b->cap : 64;
        while (n < need)
            n *= 2;
        if (n - 1 > b->max)
            n = b->max + 1;
        uint8_t *p = realloc(b->data, n);
        if (!p) {
            b->failed = SPY_ERR_NOMEM;
            return NULL;
        }
        b->data = p;
        b->cap = n;
    }
    return b->data + b->len;
}

int spy_buf_append(struct spy_buf *b, const void *data, size_t len)
{
    uint8_t *p = spy_buf_reserve(b, len);
    if (!p)
        return b->failed;
    if (len)
        memcpy(p, data, len);
    spy_buf_commit(b, len);
    return 0;
}

int spy_buf_puts(struct spy_buf *b, const char *s)
{
    return spy_buf_append(b, s, strlen(s));
}

int spy_buf_putc(struct spy_buf *b, char c)
{
    return spy_buf_append(b, &c, 1);
}

int spy_buf_number(struct spy_buf *b, uint64_t n)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    return spy_buf_append(b, digits + at, sizeof digits - at);
}

static int put_formatted(struct spy_buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0) // more than INT_MAX bytes
        return b->failed = SPY_ERR_LIMIT;
    uint8_t *p = spy_buf_reserve(b, (size_t)n);
    if (!p)
        return b->failed;
    vsnprintf((char *)p, (size_t)n + 1, fmt, ap);
    b->len += (size_t)n;
    return 0;
}

int spy_buf_printf(struct spy_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int r = put_formatted(b, fmt, ap);
    va_end(ap);
    return r;
}

const char *spy_buf_str(const struct spy_buf *b)
{
    return b->data ? (const char *)b->data : "";
}

// As JSON's \u, which takes two of them beyond U+FFFF.
static void put_json_escape(struct spy_buf *b, uint32_t code)
{
    if (code < 0x10000)
        spy_buf_printf(b, "\\u%04x", code);
    else
        spy_buf_printf(b, "\\u%04x\\u%04x", 0xd7c0 + (code >> 10), 0xdc00 + (code & 0x3ff));
}

// Whether eight bytes are printable ASCII, as nearly all text is, and without quotes and backslashes.
// Subtracting sets the top bit of each byte that is less; XOR makes a byte that is equal 0.
static bool is_plain_word(const char *s)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = UINT64_C(0x8080808080808080);
    uint64_t word;
    memcpy(&word, s, sizeof word);
    uint64_t quotes = word ^ ones * '"', backslashes = word ^ ones * '\\';
    uint64_t found = word | (word + ones) | (word - ones * ' ') | ((quotes - ones) & ~quotes) |
                     ((backslashes - ones) & ~backslashes);
    return !(found & tops);
}

static bool is_plain_byte(char c)
{
    return c >= ' ' && c < 0x7f && c != '"' && c != '\\';
}

// How many bytes at s are such text.
static size_t count_plain(const char *s, size_t len)
{
    size_t n = 0;
    while (len - n >= 8 && is_plain_word(s + n))
        n += 8;
    while (n < len && is_plain_byte(s[n]))
        n++;
    return n;
}

int spy_buf_json(struct spy_buf *b, const char *s, size_t len)
{
    for (size_t i = 0, plain; i < len;) {
        if ((plain = count_plain(s + i, len - i))) {
            spy_buf_append(b, s + i, plain);
            i += plain;
            continue;
        }
        size_t n = spy_utf8_len(s + i, len - i);
        uint32_t code = n ? spy_utf8_code(s + i, n) : 0;
        if (n == 0)
            spy_buf_puts(b, "\xef\xbf\xbd");
        else if (code == '"' || code == '\\')
            spy_buf_printf(b, "\\%c", (char)code);
        else if (!spy_utf8_is_fit(code))
            put_json_escape(b, code);
        else
            spy_buf_append(b, s + i, n);
        i += n ? n : 1;
    }
    return b->failed;
}

static int put_cut(struct spy_buf *b, const char *s, size_t len, size_t max, bool whole)
{
    for (size_t i = 0, n; i < len; i += n ? n : 1) {
        if ((n = count_plain(s + i, (len < max ? len : max) - i))) {
            spy_buf_append(b, s + i, n);
            continue;
        }
        n = spy_utf8_len(s + i, len - i);
        if (i + (n ? n : 1) > max)
            return spy_buf_puts(b, "\xe2\x80\xa6");
        uint32_t code = n ? spy_utf8_code(s + i, n) : 0xfffd;
        if (n && (whole || spy_utf8_is_fit(code)))
            spy_buf_append(b, s + i, n);
        else
            spy_buf_puts(b, code < 0xa0 ? " " : "\xef\xbf\xbd");
    }
    return b->failed;
}

int spy_buf_text(struct spy_buf *b, const char *s, size_t len, size_t max)
{
    return put_cut(b, s, len, max, false);
}

int spy_buf_cut(struct spy_buf *b, const char *s, size_t len, size_t max)
{
    return put_cut(b, s, len, max, true);
}
