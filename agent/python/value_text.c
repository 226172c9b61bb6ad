#include "agent/python/value_inside.h"
#include "shared/base/mem.h"
#include "shared/base/utf8.h"
#include <string.h>

// The start of a string's characters, each of `width` bytes.
struct chars {
    uint8_t data[SPY_VALUE_SCAN * 4];
    size_t n, width;
    uint64_t length; // of the whole string
};

static uint32_t code_at(const struct chars *c, size_t i)
{
    uint16_t two;
    uint32_t four;
    if (c->width == 1)
        return c->data[i];
    if (c->width == 2) {
        memcpy(&two, c->data + i * 2, sizeof two);
        return two;
    }
    memcpy(&four, c->data + i * 4, sizeof four);
    return four;
}

static int load_data(struct spy_py_values *v, uint64_t from, uint64_t length, size_t width,
                     size_t most, struct chars *ret)
{
    if (length > INT64_MAX || (width != 1 && width != 2 && width != 4))
        return SPY_ERR_TORN;
    most = spy_min(most, SPY_VALUE_SCAN);
    ret->n = length < most ? (size_t)length : most;
    ret->length = length;
    ret->width = width;
    return ret->n ? spy_value_read(v, from, ret->data, ret->n * width) : 0;
}

static int load_str(struct spy_py_values *v, uint64_t addr, size_t most, struct chars *ret)
{
    const struct spy_py_layout *l = v->layout;
    uint8_t head[128] = {0};
    uint64_t length, from;
    uint32_t state;
    if (l->str_compact_data + 8u > sizeof head)
        return SPY_ERR_TORN;
    // A short ASCII string may end before that does.
    int r = spy_value_read(v, addr, head, l->str_compact_data + 8u);
    if (r == SPY_ERR_TORN)
        r = spy_value_read(v, addr, head, l->str_ascii_data);
    if (r < 0)
        return r;
    memcpy(&length, head + l->str_length, sizeof length);
    memcpy(&state, head + l->str_state, sizeof state);
    memcpy(&from, head + l->str_compact_data, sizeof from);
    state >>= l->str_kind;
    bool compact = state >> 3 & 1, ascii = state >> 4 & 1;
    if (compact)
        from = addr + (ascii ? l->str_ascii_data : l->str_compact_data);
    return load_data(v, from, length, state & 7, most, ret);
}

static bool has_large_codes(const struct chars *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (code_at(c, i) > 0x10ffff)
            return true;
    return false;
}

// Python 2's unicode has 2 or 4 bytes a character, depending on its build. Two characters of 2 bytes
// read as a character of 4 are out of range, unless the second is a control character.
static int load_unicode(struct spy_py_values *v, uint64_t addr, size_t most, struct chars *ret)
{
    uint64_t length, from;
    int r = spy_value_read_word(v, addr + v->objects.unicode_length, &length);
    if (r == 0)
        r = spy_value_read_word(v, addr + v->objects.unicode_data, &from);
    if (r == 0)
        r = load_data(v, from, length, 4, most, ret);
    if (r == SPY_ERR_TORN || (r == 0 && has_large_codes(ret)))
        r = load_data(v, from, length, 2, most, ret);
    return r;
}

static int load_bytes(struct spy_py_values *v, uint64_t addr, size_t most, struct chars *ret)
{
    uint64_t length;
    int r = spy_value_read_word(v, addr + v->layout->ob_size, &length);
    return r < 0 ? r : load_data(v, addr + v->layout->bytes_data, length, 1, most, ret);
}

// --- what is printable ---

// Code points that str.isprintable() is false for: separators but the space, format characters,
// surrogates, private use, and what can never be a character.
static const struct {
    uint32_t first, last;
} unprintable[] = {
    {0x00, 0x1f},       {0x7f, 0xa0},       {0xad, 0xad},          {0x600, 0x605},
    {0x61c, 0x61c},     {0x6dd, 0x6dd},     {0x70f, 0x70f},        {0x890, 0x891},
    {0x8e2, 0x8e2},     {0x1680, 0x1680},   {0x180e, 0x180e},      {0x2000, 0x200f},
    {0x2028, 0x202f},   {0x205f, 0x206f},   {0x3000, 0x3000},      {0xd800, 0xf8ff},
    {0xfdd0, 0xfdef},   {0xfeff, 0xfeff},   {0xfff0, 0xfffb},      {0xfffe, 0xffff},
    {0x110bd, 0x110bd}, {0x110cd, 0x110cd}, {0x13430, 0x1343f},    {0x1bca0, 0x1bca3},
    {0x1d173, 0x1d17a}, {0xe0000, 0xe00ff}, {0xf0000, UINT32_MAX},
};

static bool is_printable(uint32_t c)
{
    for (size_t i = 0; i < SPY_COUNT(unprintable); i++)
        if (c <= unprintable[i].last)
            return c < unprintable[i].first;
    return false;
}

static void put_escaped(struct spy_py_values *v, uint32_t c)
{
    if (c == '\n' || c == '\r' || c == '\t')
        spy_value_puts(v, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
    else
        spy_value_printf(v, c <= 0xff ? "\\x%02x" : c <= 0xffff ? "\\u%04x" : "\\U%08x", c);
}

// Bytes, and Python 2's strings, show nothing but ASCII.
static void put_quoted(struct spy_py_values *v, const struct chars *c, bool ascii_only)
{
    bool single = false, twofold = false;
    for (size_t i = 0; i < c->n; i++) {
        single = single || code_at(c, i) == '\'';
        twofold = twofold || code_at(c, i) == '"';
    }
    uint32_t quote = single && !twofold ? '"' : '\'';
    spy_value_put_char(v, quote);
    for (size_t i = 0; i < c->n && !v->is_full; i++) {
        uint32_t code = code_at(c, i);
        if (code == '\\' || code == quote) {
            spy_value_put_char(v, '\\');
            spy_value_put_char(v, code);
        } else if (is_printable(code) && !(ascii_only && code >= 0x7f)) {
            spy_value_put_char(v, code);
        } else {
            put_escaped(v, code);
        }
    }
    if (c->n < c->length)
        spy_value_puts(v, "...");
    spy_value_put_char(v, quote);
}

// --- printers ---

void spy_value_print_str(struct spy_py_values *v, uint64_t addr, const struct spy_value_type *type)
{
    struct chars c;
    bool old = v->layout->major == 2;
    (void)type;
    if ((old ? load_unicode : load_str)(v, addr, SPY_VALUE_SCAN, &c) < 0) {
        spy_value_puts(v, "?");
        return;
    }
    spy_value_puts(v, old ? "u" : "");
    put_quoted(v, &c, old);
}

void spy_value_print_bytes(struct spy_py_values *v, uint64_t addr,
                           const struct spy_value_type *type)
{
    struct chars c;
    (void)type;
    if (load_bytes(v, addr, SPY_VALUE_SCAN, &c) < 0) {
        spy_value_puts(v, "?");
        return;
    }
    spy_value_puts(v, v->layout->major == 2 ? "" : "b");
    put_quoted(v, &c, true);
}

// Its size, what is allocated, the allocation, and where in it the bytes begin (Include/cpython/
// bytearrayobject.h).
void spy_value_print_bytearray(struct spy_py_values *v, uint64_t addr,
                               const struct spy_value_type *type)
{
    enum { START = 16 };
    struct chars c;
    uint64_t length, from;
    (void)type;
    if (spy_value_read_word(v, addr + v->layout->ob_size, &length) < 0 ||
        spy_value_read_word(v, addr + v->layout->ob_size + 8 + START, &from) < 0 ||
        load_data(v, from, length, 1, SPY_VALUE_SCAN, &c) < 0) {
        spy_value_puts(v, "?");
        return;
    }
    spy_value_puts(v, "bytearray(b");
    put_quoted(v, &c, true);
    spy_value_puts(v, ")");
}

// --- names ---

void spy_value_peek_text(struct spy_py_values *v, uint64_t addr, char *out, size_t size)
{
    struct spy_value_type type;
    struct chars c = {.n = 0};
    size_t n = 0;
    int r = spy_value_type_of(v, addr, &type);
    if (r == 0 && type.print == spy_value_print_bytes)
        r = load_bytes(v, addr, size, &c);
    else if (r == 0 && type.print == spy_value_print_str)
        r = (v->layout->major == 2 ? load_unicode : load_str)(v, addr, size, &c);
    for (size_t i = 0; r == 0 && i < c.n; i++) {
        char s[4];
        uint32_t code = code_at(&c, i);
        size_t len =
            spy_value_encode(code > 0x10ffff || code - 0xd800 < 0x800 || !code ? '?' : code, s);
        if (n + len + 1 > size)
            break;
        memcpy(out + n, s, len);
        n += len;
    }
    out[n] = 0;
}

int spy_value_peek_c_string(struct spy_py_values *v, uint64_t addr, char *out, size_t size)
{
    enum { PAGE = 4096 };
    char bytes[128];
    size_t most = spy_min(size - 1, sizeof bytes), page = PAGE - addr % PAGE, n = 0;
    // What follows the text in the next page need not be mapped.
    size_t first = spy_min(most, page);
    int r = spy_value_read(v, addr, bytes, first);
    if (r < 0)
        return r;
    if (first < most && !memchr(bytes, 0, first) &&
        spy_value_read(v, addr + first, bytes + first, most - first) == 0)
        first = most;
    while (n < first && bytes[n]) {
        size_t len = spy_utf8_len(bytes + n, first - n);
        if (!len)
            break;
        memcpy(out + n, bytes + n, len);
        n += len;
    }
    out[n] = 0;
    return 0;
}

void spy_value_put_name(struct spy_py_values *v, const char *utf8)
{
    size_t left = strlen(utf8);
    while (left && !v->is_full) {
        size_t len = spy_utf8_len(utf8, left);
        uint32_t code = len ? spy_utf8_code(utf8, len) : (uint8_t)*utf8;
        if (len && is_printable(code))
            spy_value_put_char(v, code);
        else
            put_escaped(v, code);
        utf8 += len ? len : 1;
        left -= len ? len : 1;
    }
}
