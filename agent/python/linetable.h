// linetable.h - finds the line of an instruction, in the four formats that CPython has had, and its
// columns, in the last of them.
//
// Up to 3.9 (Objects/lnotab_notes.txt): pairs of bytes, for how many bytes of bytecode the current
// line lasts and by how much it then changes; the change is signed since 3.6.
// 3.10 (the same notes, PEP 626): pairs of a length in bytes of bytecode and a signed change of
// line for that range; -128: the range has no line.
// 3.11 and later: entries of a first byte 1ccccnnn (kind c, n + 1 code units) and then bytes below
// 128, by kind: 0 to 9 short forms and 10 to 12 one-line forms with columns, 13 a line delta
// without columns, 14 a long form, 15 no line. Documented in Objects/locations.md of the CPython
// sources (3.14: InternalDocs/code_objects.md), which does not mention that the columns of the long
// form are stored plus one, 0 meaning none (Objects/codeobject.c, advance_with_locations).
#pragma once
#include <stddef.h>
#include <stdint.h>

enum spy_linetable_format {
    SPY_LINETABLE_LNOTAB_UNSIGNED, // 2.7, 3.3 to 3.5
    SPY_LINETABLE_LNOTAB,          // 3.6 to 3.9
    SPY_LINETABLE_RANGES,          // 3.10
    SPY_LINETABLE_LOCATIONS,       // 3.11 and later
};

// Fills lines[0 .. units-1] with the line of each code unit; 0 if the instruction has none. Units
// that a damaged or truncated table does not reach get 0. Never reads past table_len. Returns the
// number of units that the table covers. unit_bytes is the size of a code unit: 2, or 1 before 3.6.
// An lnotab has no end: its last line covers all remaining units.
size_t spy_linetable_lines(enum spy_linetable_format format, unsigned unit_bytes,
                           const uint8_t *table, size_t table_len, uint32_t first_line,
                           uint32_t *lines, size_t units);

// Where an instruction is in its source. Numbers start at 1, and 0 is not known, as in OTLP's and
// pprof's Line.column; co_positions() counts columns from 0. Columns are bytes of the line's UTF-8;
// end_column is the byte after the last.
struct spy_location {
    uint32_t line, column, end_line, end_column;
};

// Fills ret[0..n-1] with the locations of the code units from `from` on, from a table of
// SPY_LINETABLE_LOCATIONS; lines are as from spy_linetable_lines. What a damaged or truncated table
// does not hold is 0. Never reads past table_len. Returns how many of these units the table covers.
size_t spy_linetable_locations(const uint8_t *table, size_t table_len, uint32_t first_line,
                               size_t from, struct spy_location *ret, size_t n);
