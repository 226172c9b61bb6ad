#include "shared/base/text.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <string.h>

enum { ESCAPE_MAX = 12 }; // "\U000e0001" and a NUL

// Escapes the character or byte at s into out. Returns how many bytes of s it took.
static size_t escape_one(const char *s, size_t left, char out[ESCAPE_MAX])
{
    static const char letters[] = {['\t'] = 't', ['\n'] = 'n', ['\r'] = 'r'};
    size_t n = spy_utf8_len(s, left);
    uint32_t code = n ? spy_utf8_code(s, n) : (uint8_t)s[0];
    if (n && spy_utf8_is_fit(code)) {
        memcpy(out, s, n);
        out[n] = 0;
    } else if (code < sizeof letters && letters[code]) {
        snprintf(out, ESCAPE_MAX, "\\%c", letters[code]);
    } else {
        snprintf(out, ESCAPE_MAX,
                 code < 0x100     ? "\\x%02x"
                 : code < 0x10000 ? "\\u%04x"
                                  : "\\U%08x",
                 code);
    }
    return n ? n : 1;
}

int spy_buf_shown(struct spy_buf *b, const char *s)
{
    char one[ESCAPE_MAX];
    for (size_t i = 0, len = strlen(s); i < len;) {
        i += escape_one(s + i, len - i, one);
        spy_buf_puts(b, one);
    }
    return b->failed;
}

const char *spy_text_show(char *out, size_t size, const char *s)
{
    char one[ESCAPE_MAX];
    size_t at = 0;
    for (size_t i = 0, len = strlen(s); i < len;) {
        i += escape_one(s + i, len - i, one);
        size_t n = strlen(one);
        if (at + n >= size)
            break;
        memcpy(out + at, one, n);
        at += n;
    }
    out[at] = 0;
    return out;
}

// Backtracks to the last '*' only.
bool spy_glob_matches(const char *pattern, const char *text)
{
    const char *star = NULL, *from = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            from = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star;
            text = ++from;
        } else {
            return false;
        }
    }
    return pattern[strspn(pattern, "*")] == 0;
}

int spy_hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}
