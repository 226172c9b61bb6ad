#include "agent/python/linetable.h"
#include <stdbool.h>
#include <string.h>

enum kind { ONE_LINE_0 = 10, ONE_LINE_2 = 12, NO_COLUMNS = 13, LONG_FORM = 14, NO_LINE = 15 };

struct reader {
    const uint8_t *at, *end;
};

// 6 bits a byte, lowest first, bit 6 says that more follow. At most 6 bytes, which 32 bits need.
static uint32_t read_uint(struct reader *r)
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

static int64_t read_int(struct reader *r)
{
    uint32_t v = read_uint(r);
    return v & 1 ? -(int64_t)(v >> 1) : (int64_t)(v >> 1);
}

static uint32_t clamp_line(int64_t line)
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

static size_t read_lnotab(struct reader r, bool is_signed, unsigned unit_bytes, int64_t line,
                          uint32_t *lines, size_t units)
{
    size_t unit = 0, at = 0;
    for (; r.end - r.at >= 2; r.at += 2) {
        at += r.at[0];
        fill_to(lines, units, &unit, at, unit_bytes, clamp_line(line));
        line += is_signed ? (int8_t)r.at[1] : r.at[1];
    }
    fill_to(lines, units, &unit, SIZE_MAX, unit_bytes, clamp_line(line));
    return unit;
}

static size_t read_ranges(struct reader r, unsigned unit_bytes, int64_t line, uint32_t *lines,
                          size_t units)
{
    enum { NO_LINE_HERE = -128 };
    size_t unit = 0, at = 0;
    for (; r.end - r.at >= 2; r.at += 2) {
        int8_t change = (int8_t)r.at[1];
        line += change == NO_LINE_HERE ? 0 : change;
        at += r.at[0];
        fill_to(lines, units, &unit, at, unit_bytes, change == NO_LINE_HERE ? 0 : clamp_line(line));
    }
    return unit;
}

// The first byte of an entry, and with it the line. Returns the number of code units it is for.
static unsigned begin_entry(struct reader *r, enum kind *ret_kind, int64_t *line)
{
    uint8_t first = *r->at++;
    enum kind kind = first >> 3 & 15;
    if (kind == LONG_FORM || kind == NO_COLUMNS)
        *line += read_int(r);
    else if (kind >= ONE_LINE_0 && kind <= ONE_LINE_2)
        *line += kind - ONE_LINE_0;
    *ret_kind = kind;
    return (first & 7) + 1u;
}

// Whatever is left of the entry.
static void end_entry(struct reader *r)
{
    while (r->at < r->end && !(*r->at & 0x80))
        r->at++;
}

static size_t read_locations_lines(struct reader r, int64_t line, uint32_t *lines, size_t units)
{
    size_t unit = 0;
    while (r.at < r.end && unit < units) {
        enum kind kind;
        unsigned count = begin_entry(&r, &kind, &line);
        for (; count && unit < units; count--)
            lines[unit++] = kind == NO_LINE ? 0 : clamp_line(line);
        end_entry(&r);
    }
    return unit;
}

// One byte of the entry; -1 where it has no more.
static int read_byte(struct reader *r)
{
    return r->at < r->end && !(*r->at & 0x80) ? *r->at++ : -1;
}

// What follows the line in an entry. The long form alone counts columns from 1, 0 being none.
static struct spy_location read_columns(struct reader *r, enum kind kind, int64_t line)
{
    struct spy_location l = {.line = clamp_line(line), .end_line = clamp_line(line)};
    if (kind == NO_LINE)
        return (struct spy_location){0};
    if (kind == NO_COLUMNS)
        return l;
    if (kind == LONG_FORM) {
        l.end_line = clamp_line(line + read_uint(r));
        l.column = clamp_line(read_uint(r));
        l.end_column = clamp_line(read_uint(r));
        return l;
    }
    int first = read_byte(r);
    if (first < 0)
        return l;
    if (kind < ONE_LINE_0) {
        l.column = (unsigned)kind * 8 + ((unsigned)first >> 4) + 1;
        l.end_column = l.column + (first & 15);
        return l;
    }
    l.column = (unsigned)first + 1;
    l.end_column = (unsigned)(read_byte(r) + 1);
    return l;
}

size_t spy_linetable_locations(const uint8_t *table, size_t table_len, uint32_t first_line,
                               size_t from, struct spy_location *ret, size_t n)
{
    struct reader r = {table, table + table_len};
    int64_t line = first_line;
    size_t unit = 0, done = 0;
    memset(ret, 0, n * sizeof *ret);
    while (r.at < r.end && done < n) {
        enum kind kind;
        unsigned count = begin_entry(&r, &kind, &line);
        struct spy_location here = read_columns(&r, kind, line);
        for (; count && done < n; count--)
            if (unit++ >= from)
                ret[done++] = here;
        end_entry(&r);
    }
    return done;
}

size_t spy_linetable_lines(enum spy_linetable_format format, unsigned unit_bytes,
                           const uint8_t *table, size_t table_len, uint32_t first_line,
                           uint32_t *lines, size_t units)
{
    struct reader r = {table, table + table_len};
    memset(lines, 0, units * sizeof *lines);
    if (format == SPY_LINETABLE_LOCATIONS)
        return read_locations_lines(r, first_line, lines, units);
    if (format == SPY_LINETABLE_RANGES)
        return read_ranges(r, unit_bytes, first_line, lines, units);
    return read_lnotab(r, format == SPY_LINETABLE_LNOTAB, unit_bytes, first_line, lines, units);
}
