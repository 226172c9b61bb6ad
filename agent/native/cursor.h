// cursor.h - bytes taken one after the other from a bounded piece. Past its end everything is 0 and
// the cursor is bad from then on.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct spy_cursor {
    const uint8_t *at, *end;
    bool bad;
};

static inline size_t spy_cursor_left(const struct spy_cursor *c)
{
    return (size_t)(c->end - c->at);
}

static inline void spy_cursor_skip(struct spy_cursor *c, uint64_t n)
{
    if (n > spy_cursor_left(c)) {
        c->bad = true;
        c->at = c->end;
    } else {
        c->at += n;
    }
}

// A little-endian number of n <= 8 bytes.
static inline uint64_t spy_cursor_number(struct spy_cursor *c, size_t n)
{
    uint64_t value = 0;
    if (n > spy_cursor_left(c)) {
        c->bad = true;
        c->at = c->end;
        return 0;
    }
    memcpy(&value, c->at, n);
    c->at += n;
    return value;
}

static inline uint8_t spy_cursor_byte(struct spy_cursor *c)
{
    return (uint8_t)spy_cursor_number(c, 1);
}

static inline int64_t spy_cursor_signed(struct spy_cursor *c, size_t n)
{
    unsigned shift = (unsigned)(64 - 8 * n);
    return (int64_t)(spy_cursor_number(c, n) << shift) >> shift;
}

static inline uint64_t spy_cursor_uleb(struct spy_cursor *c)
{
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t b = spy_cursor_byte(c);
        if (shift < 64)
            value |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return value;
    }
}

static inline int64_t spy_cursor_sleb(struct spy_cursor *c)
{
    uint64_t value = 0;
    for (unsigned shift = 0;;) {
        uint8_t b = spy_cursor_byte(c);
        if (shift < 64)
            value |= (uint64_t)(b & 0x7f) << shift;
        shift += 7;
        if (!(b & 0x80))
            return (int64_t)(shift < 64 && (b & 0x40) ? value | ~(uint64_t)0 << shift : value);
    }
}
