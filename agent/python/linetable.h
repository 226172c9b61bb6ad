// linetable.h - from an instruction to its line, in the four formats that CPython has had, and to
// its columns, which the last of them has.
//
// Up to 3.9 (Objects/lnotab_notes.txt): pairs of bytes, how many bytes of bytecode the current line
// still reaches and how much the line then changes; the change is signed since 3.6.
// 3.10 (the same notes, PEP 626): pairs of a length in bytes of bytecode and a signed change of
// line that holds for just that range; -128 says that the range has no line. 3.11 and later: a
// sequence of entries: a first byte 1ccccnnn (kind c, n + 1 code units) and then bytes below 128,
// by kind: 0 to 9 short forms and 10 to 12 one-line forms with columns, 13 a line delta without
// columns, 14 a long form, 15 no line. Documented in Objects/locations.md of the CPython sources
// (3.14: InternalDocs/code_objects.md), which leaves out that the columns of the long form are one
// more than they are, 0 being none (Objects/codeobject.c, advance_with_locations).
#pragma once
#include <stddef.h>
#include <stdint.h>

enum spy_linetable_format {
    SPY_LINETABLE_LNOTAB_UNSIGNED, // 2.7, 3.3 to 3.5
    SPY_LINETABLE_LNOTAB,          // 3.6 to 3.9
    SPY_LINETABLE_RANGES,          // 3.10
    SPY_LINETABLE_LOCATIONS,       // 3.11 and later
};

// Fills lines[0 .. units-1] with the line of each code unit; 0 where the instruction has none.
// Units that a damaged or truncated table does not reach get 0. Never reads past table_len. Returns
// the number of units that the table covered.
// unit_bytes is the size of a code unit: 2, or 1 before 3.6. An lnotab has no end: its last line
// covers all units that are left.
size_t spy_linetable_lines(enum spy_linetable_format format, unsigned unit_bytes,
                           const uint8_t *table, size_t table_len, uint32_t first_line,
                           uint32_t *lines, size_t units);

// Where an instruction stands in the source. Numbers are from 1, 0 is not known: as in OTLP's and
// pprof's Line.column, and one more than co_positions() says of columns. Columns are bytes of the
// line's UTF-8; end_column is that of the byte after the last.
struct spy_location {
    uint32_t line, column, end_line, end_column;
};

// Fills ret[0..n-1] with the locations of the code units from `from` on, of a table of
// SPY_LINETABLE_LOCATIONS; the line is the one that spy_linetable_lines gives. What a damaged or
// truncated table does not hold is 0. Never reads past table_len. Returns the number of these units
// that the table covered.
size_t spy_linetable_locations(const uint8_t *table, size_t table_len, uint32_t first_line,
                               size_t from, struct spy_location *ret, size_t n);
