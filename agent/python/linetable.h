// linetable.h - from an instruction to its line: the location table of CPython 3.11 and later.
//
// A sequence of entries: a first byte 1ccccnnn (kind c, n + 1 code units) and then bytes below 128,
// by kind: 0 to 9 short forms and 10 to 12 one-line forms with columns, 13 a line delta without
// columns, 14 a long form, 15 no line. Documented in Objects/locations.md (3.12:
// Objects/locations.md; 3.13: InternalDocs/locations.md) of the CPython sources.
#pragma once
#include <stddef.h>
#include <stdint.h>

// Fills lines[0 .. units-1] with the line of each code unit; 0 where the instruction has none.
// Units that a damaged or truncated table does not reach get 0. Never reads past table_len. Returns
// the number of units that the table covered.
size_t spy_linetable_lines(const uint8_t *table, size_t table_len, uint32_t first_line,
                           uint32_t *lines, size_t units);
