#include "agent/python/linetable.h"
#include <stdbool.h>
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

static uint32_t shown(int64_t line)
{
    return line < 0 || line > INT32_MAX ? 0 : (uint32_t)line;
}

// Gives the units from *unit to the one at byte `end` the line.
static void fill_to(uint32_t *lines, size_t units, size_t *unit, size_t end, unsigned unit_bytes,
                    uint32_t line)
{
    while (*unit < units && *unit * unit_bytes < end)
        lines[(*unit)++] = line;
}

static size_t lnotab(struct reader r, bool is_signed, unsigned unit_bytes, int64_t line,
                     uint32_t *lines, size_t units)
{
    size_t unit = 0, at = 0;
    for (; r.end - r.at >= 2; r.at += 2) {
        at += r.at[0];
        fill_to(lines, units, &unit, at, unit_bytes, shown(line));
        line += is_signed ? (int8_t)r.at[1] : r.at[1];
    }
    fill_to(lines, units, &unit, SIZE_MAX, unit_bytes, shown(line));
    return unit;
}

static size_t ranges(struct reader r, unsigned unit_bytes, int64_t line, uint32_t *lines,
                     size_t units)
{
    enum { NO_LINE_HERE = -128 };
    size_t unit = 0, at = 0;
    for (; r.end - r.at >= 2; r.at += 2) {
        int8_t change = (int8_t)r.at[1];
        line += change == NO_LINE_HERE ? 0 : change;
        at += r.at[0];
        fill_to(lines, units, &unit, at, unit_bytes, change == NO_LINE_HERE ? 0 : shown(line));
    }
    return unit;
}

static size_t locations(struct reader r, int64_t line, uint32_t *lines, size_t units)
{
    size_t unit = 0;
    while (r.at < r.end && unit < units) {
        uint8_t first = *r.at++;
        unsigned kind = first >> 3 & 15, count = (first & 7) + 1u;
        if (kind == LONG_FORM || kind == NO_COLUMNS)
            line += read_signed(&r);
        else if (kind >= ONE_LINE_0 && kind <= ONE_LINE_2)
            line += kind - ONE_LINE_0;
        for (; count && unit < units; count--)
            lines[unit++] = kind == NO_LINE ? 0 : shown(line);
        while (r.at < r.end && !(*r.at & 0x80)) // what is left of the entry: columns, end line
            r.at++;
    }
    return unit;
}

size_t spy_linetable_lines(enum spy_linetable_format format, unsigned unit_bytes,
                           const uint8_t *table, size_t table_len, uint32_t first_line,
                           uint32_t *lines, size_t units)
{
    struct reader r = {table, table + table_len};
    memset(lines, 0, units * sizeof *lines);
    if (format == SPY_LINETABLE_LOCATIONS)
        return locations(r, first_line, lines, units);
    if (format == SPY_LINETABLE_RANGES)
        return ranges(r, unit_bytes, first_line, lines, units);
    return lnotab(r, format == SPY_LINETABLE_LNOTAB, unit_bytes, first_line, lines, units);
}
