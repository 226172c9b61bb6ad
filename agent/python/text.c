#include "agent/python/text.h"
#include "shared/base/mem.h"
#include <string.h>

static void put_char(struct spy_buf *out, uint32_t c)
{
    char s[4];
    size_t n;
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000) || c == 0)
        c = 0xfffd;
    if (c < 0x80) {
        s[0] = (char)c;
        n = 1;
    } else if (c < 0x800) {
        s[0] = (char)(0xc0 | c >> 6);
        s[1] = (char)(0x80 | (c & 0x3f));
        n = 2;
    } else if (c < 0x10000) {
        s[0] = (char)(0xe0 | c >> 12);
        s[1] = (char)(0x80 | (c >> 6 & 0x3f));
        s[2] = (char)(0x80 | (c & 0x3f));
        n = 3;
    } else {
        s[0] = (char)(0xf0 | c >> 18);
        s[1] = (char)(0x80 | (c >> 12 & 0x3f));
        s[2] = (char)(0x80 | (c >> 6 & 0x3f));
        s[3] = (char)(0x80 | (c & 0x3f));
        n = 4;
    }
    spy_buf_append(out, s, n);
}

static uint32_t char_at(const uint8_t *data, uint32_t kind, size_t i)
{
    uint16_t two;
    uint32_t four;
    switch (kind) {
    case 1:
        return data[i];
    case 2:
        memcpy(&two, data + i * 2, 2);
        return two;
    default:
        memcpy(&four, data + i * 4, 4);
        return four;
    }
}

// Python 2: a str is bytes, of any encoding.
static int read_bytes_text(const struct spy_target *t, const struct spy_py_layout *l, uint64_t addr,
                           struct spy_buf *out)
{
    char data[SPY_PY_TEXT_MAX];
    uint64_t length;
    int r = spy_target_read_u64(t, addr + l->ob_size, &length);
    if (r < 0)
        return r;
    if (length > INT32_MAX)
        return SPY_ERR_TORN;
    size_t n = length < sizeof data ? (size_t)length : sizeof data;
    if (n)
        r = spy_target_read(t, addr + l->bytes_data, data, n);
    for (size_t i = 0; r == 0 && i < n;) {
        size_t len = data[i] ? spy_utf8_len(data + i, n - i) : 0;
        if (len)
            spy_buf_append(out, data + i, len);
        else
            put_char(out, 0xfffd);
        i += len ? len : 1;
    }
    if (r == 0 && length > n)
        put_char(out, 0x2026);
    return r < 0 ? r : out->failed;
}

int spy_py_text(const struct spy_target *t, const struct spy_py_layout *l, uint64_t addr,
                struct spy_buf *out)
{
    uint8_t head[96], data[SPY_PY_TEXT_MAX * 4];
    uint64_t length;
    uint32_t state;
    if (l->str_is_bytes)
        return read_bytes_text(t, l, addr, out);
    int r = spy_target_read(t, addr, head, l->str_compact_data + 8u);
    if (r < 0)
        return r;
    memcpy(&length, head + l->str_length, sizeof length);
    memcpy(&state, head + l->str_state, sizeof state);
    state >>= l->str_kind;
    uint32_t kind = state & 7, compact = state >> 3 & 1, ascii = state >> 4 & 1;
    if ((kind != 1 && kind != 2 && kind != 4) || length > INT32_MAX)
        return SPY_ERR_TORN;
    uint64_t from = addr + (ascii ? l->str_ascii_data : l->str_compact_data);
    if (!compact)
        memcpy(&from, head + l->str_compact_data, sizeof from);
    size_t n = length < SPY_PY_TEXT_MAX ? (size_t)length : SPY_PY_TEXT_MAX;
    if (n)
        r = spy_target_read(t, from, data, n * kind);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        put_char(out, char_at(data, kind, i));
    if (length > n)
        put_char(out, 0x2026);
    return out->failed;
}
