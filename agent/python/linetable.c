#include "agent/python/linetable.h"
#include <string.h>

enum kind { ONE_LINE_0 = 10, ONE_LINE_2 = 12, NO_COLUMNS = 13, LONG_FORM = 14, NO_LINE = 15 };

struct reader {
    const uint8_t *at, *end;
};

// 6 bits a byte, lowest first, bit 6 says that more follow. At most 6 bytes, which 32 bits need.
static uint32_t read_varint(struct reader *r)
{
    uint32_t value = 0;
    for (unsigned shift = 0; r->at < r->end && !(*r->at & 0x80) && shift < 36; shift += 6) {
        uint8_t b = *r->at++;
        if (shift < 32)
            value |= (uint32_t)(b & 0x3f) << shift;
        if (!(b & 0x40))
            break;
    }
    return value;
}

static int64_t read_signed(struct reader *r)
{
    uint32_t v = read_varint(r);
    return v & 1 ? -(int64_t)(v >> 1) : (int64_t)(v >> 1);
}

size_t spy_linetable_lines(const uint8_t *table, size_t table_len, uint32_t first_line,
                           uint32_t *lines, size_t units)
{
    struct reader r = {table, table + table_len};
    int64_t line = first_line;
    size_t unit = 0;
    memset(lines, 0, units * sizeof *lines);
    while (r.at < r.end && unit < units) {
        uint8_t first = *r.at++;
        unsigned kind = first >> 3 & 15, count = (first & 7) + 1u;
        if (kind == LONG_FORM || kind == NO_COLUMNS)
            line += read_signed(&r);
        else if (kind >= ONE_LINE_0 && kind <= ONE_LINE_2)
            line += kind - ONE_LINE_0;
        uint32_t shown = kind == NO_LINE || line < 0 || line > INT32_MAX ? 0 : (uint32_t)line;
        for (; count && unit < units; count--)
            lines[unit++] = shown;
        while (r.at < r.end && !(*r.at & 0x80)) // what is left of the entry: columns, end line
            r.at++;
    }
    return unit;
}
