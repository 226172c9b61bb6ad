// Line tables of a hostile target.
#include "agent/python/linetable.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
        size_t covered = spy_linetable_lines(head[1] >> 16 & 3, 1 + (head[1] >> 18 & 1), table, len,
                                             head[0] & INT32_MAX, lines, units);
        if (covered > units)
            abort();
        for (size_t i = 0; i < units; i++)
            if (lines[i] > INT32_MAX || (i >= covered && lines[i]))
                abort();
    }
    free(table);
    free(lines);
    return 0;
}
