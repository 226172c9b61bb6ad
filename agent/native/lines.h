// lines.h - which source line an address of one unit comes from (DWARF 5, section 6.2). Inside of
// agent/native.
#pragma once
#include "agent/native/dwarf.h"

struct spy_line_row {
    uint64_t start;
    uint32_t line; // 0: no line; also where a sequence ends
    uint32_t file;
};

struct spy_line_file {
    const char *name, *folder; // borrowed from the sections; folder may be NULL
};

struct spy_lines {
    struct spy_line_row *rows; // by rising address
    size_t n_rows, cap_rows;
    struct spy_line_file *files; // by their number
    size_t n_files, cap_files;
};

// u was begun. What makes no sense ends the table early. SPY_ERR_NOMEM, SPY_ERR_LIMIT.
int spy_lines_load(struct spy_dwarf *d, const struct spy_dwarf_unit *u, struct spy_lines *ret);
void spy_lines_done(struct spy_lines *l);
// NULL: none.
const struct spy_line_row *spy_lines_find(const struct spy_lines *l, uint64_t address);
