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

// RFC 3629, section 4: no overlong forms, no surrogates, nothing above U+10FFFF.
size_t spy_utf8_len(const char *s, size_t left)
{
    const uint8_t *u = (const uint8_t *)s;
    if (u[0] < 0x80)
        return 1;
    size_t n = u[0] >= 0xc2 && u[0] <= 0xdf   ? 2
               : (u[0] & 0xf0) == 0xe0        ? 3
               : u[0] >= 0xf0 && u[0] <= 0xf4 ? 4
                                              : 0;
    if (!n || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) ||
        (u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] > 0x8f))
        return 0;
    return n;
}

int spy_buf_json(struct spy_buf *b, const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t n = spy_utf8_len(s + i, len - i);
        unsigned char c = (unsigned char)s[i];
        if (n == 0)
            spy_buf_puts(b, "\xef\xbf\xbd");
        else if (n == 1 && (c == '"' || c == '\\'))
            spy_buf_printf(b, "\\%c", c);
        else if (n == 1 && (c < 0x20 || c == 0x7f))
            spy_buf_printf(b, "\\u%04x", c);
        else
            spy_buf_append(b, s + i, n);
        i += n ? n : 1;
    }
    return b->failed;
}

// U+202A to U+202E and U+2066 to U+2069 would turn the text around them, too.
static bool is_bidi_control(const char *s, size_t n)
{
    const uint8_t *u = (const uint8_t *)s;
    return n == 3 && u[0] == 0xe2 &&
           ((u[1] == 0x80 && u[2] >= 0xaa && u[2] <= 0xae) ||
            (u[1] == 0x81 && u[2] >= 0xa6 && u[2] <= 0xa9));
}

int spy_buf_text(struct spy_buf *b, const char *s, size_t len, size_t max)
{
    for (size_t i = 0, n; i < len; i += n ? n : 1) {
        n = spy_utf8_len(s + i, len - i);
        if (i + (n ? n : 1) > max)
            return spy_buf_puts(b, "\xe2\x80\xa6");
        if (!n || is_bidi_control(s + i, n))
            spy_buf_puts(b, "\xef\xbf\xbd");
        else if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            spy_buf_putc(b, ' ');
        else
            spy_buf_append(b, s + i, n);
    }
    return b->failed;
}
