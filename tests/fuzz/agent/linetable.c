// Line tables of a hostile target.
#include "agent/python/linetable.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// The locations of all units have the lines that were found, and so have those of some units.
static void check_locations(const uint8_t *table, size_t len, uint32_t first_line, size_t from,
                            const uint32_t *lines, size_t units, size_t covered)
{
    size_t n = units - from;
    struct spy_location *got = malloc((n + !n) * sizeof *got);
    if (!got)
        return;
    if (spy_linetable_locations(table, len, first_line, from, got, n) !=
        (covered > from ? covered - from : 0))
        abort();
    for (size_t i = 0; i < n; i++)
        if (got[i].line != lines[from + i] || got[i].column > INT32_MAX ||
            got[i].end_line > INT32_MAX || got[i].end_column > INT32_MAX ||
            (from + i >= covered && (got[i].column || got[i].end_line || got[i].end_column)))
            abort();
    free(got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t head[2]; // first line, code units; the format and the size of a unit in spare bits
    if (size < sizeof head)
        return 0;
    memcpy(head, data, sizeof head);
    size_t units = head[1] % 4096, len = size - sizeof head;
    uint8_t *table = malloc(len + !len); // a copy of that size, so that a read past it is seen
    uint32_t *lines = malloc((units + !units) * sizeof *lines);
    if (table && lines) {
        memcpy(table, data + sizeof head, len);
        enum spy_linetable_format format = head[1] >> 16 & 3;
        uint32_t first_line = head[0] & INT32_MAX;
        size_t covered = spy_linetable_lines(format, 1 + (head[1] >> 18 & 1), table, len,
                                             first_line, lines, units);
        if (covered > units)
            abort();
        for (size_t i = 0; i < units; i++)
            if (lines[i] > INT32_MAX || (i >= covered && lines[i]))
                abort();
        size_t from = units ? (head[1] >> 19) % (units + 1) : 0;
        if (format == SPY_LINETABLE_LOCATIONS) {
            check_locations(table, len, first_line, 0, lines, units, covered);
            check_locations(table, len, first_line, from, lines, units, covered);
        }
    }
    free(table);
    free(lines);
    return 0;
}
