// dwarf.h - debugging information of one file (DWARF 2 to 5): its sections, its units and their
// entries. Inside of agent/native; debug_info.h is what others use.
//
// The file is hostile. No recursion: entries are read one after the other, with a counter for the
// depth. All loops take from one budget of steps a file, so that a file that is made up to cost
// time has no information in the end. What is split into other files (.dwo, dwz) is not read.
#pragma once
#include "agent/native/cursor.h"
#include "agent/native/elf_file.h"

enum spy_dwarf_section {
    SPY_DWARF_INFO,
    SPY_DWARF_ABBREV,
    SPY_DWARF_LINE,
    SPY_DWARF_STR,
    SPY_DWARF_LINE_STR,
    SPY_DWARF_RANGES,
    SPY_DWARF_RNGLISTS,
    SPY_DWARF_STR_OFFSETS,
    SPY_DWARF_ADDR,
    SPY_DWARF_SECTIONS,
};

struct spy_dwarf_bytes {
    uint8_t *bytes; // owned, with a NUL behind them
    size_t len;
};

// A kind of entry: its tag and the attributes that it has, in order, in .debug_abbrev.
struct spy_dwarf_kind {
    uint64_t code;
    uint32_t specs; // their place in the section
    uint16_t tag;
    bool has_children;
};

struct spy_dwarf_unit {
    uint64_t at, first, end; // in .debug_info: the header, the first entry, behind the last
    uint64_t abbrev;         // in .debug_abbrev
    uint64_t low, line, str_base, addr_base, rnglists_base; // of its first entry
    const char *folder;
    struct spy_dwarf_kind *kinds; // owned; by rising code
    size_t n_kinds, cap_kinds;
    uint16_t version;
    uint8_t offset_size;
    bool has_kinds; // they were read
    bool has_line;
    struct spy_unit_code *code; // what debug_info.c made of it
};

struct spy_dwarf {
    struct spy_dwarf_bytes sections[SPY_DWARF_SECTIONS];
    struct spy_dwarf_unit *units;
    size_t n_units, cap_units;
    uint64_t steps_left;
    size_t bytes_left; // of memory
};

// SPY_ERR_NOTFOUND: the file has none; SPY_ERR_LIMIT: its sections take more than max_bytes;
// SPY_ERR_INVALID, SPY_ERR_NOMEM. Reads the headers of all units.
int spy_dwarf_load(const struct spy_elf *e, size_t max_bytes, struct spy_dwarf *ret);
void spy_dwarf_done(struct spy_dwarf *d);
// What the sections take, and tables made of them may take: as much again.
size_t spy_dwarf_bytes(const struct spy_dwarf *d);
// Takes from the budgets. False: they are used up.
bool spy_dwarf_spend(struct spy_dwarf *d, uint64_t steps, size_t bytes);
// The unit that has the place in .debug_info, or NULL.
struct spy_dwarf_unit *spy_dwarf_unit_at(struct spy_dwarf *d, uint64_t at);
struct spy_cursor spy_dwarf_cursor(const struct spy_dwarf *d, enum spy_dwarf_section s,
                                   uint64_t at);
// The NUL-ended text at the place, which is in the section whole, or NULL.
const char *spy_dwarf_text(const struct spy_dwarf *d, enum spy_dwarf_section s, uint64_t at);

enum spy_dwarf_class {
    SPY_DWARF_OTHER,
    SPY_DWARF_NUMBER,
    SPY_DWARF_ADDRESS,
    SPY_DWARF_TEXT,
    SPY_DWARF_REFERENCE, // a place in .debug_info
    SPY_DWARF_OFFSET,    // in the section that the attribute is about
    SPY_DWARF_INDEX,     // of a list of ranges
};

struct spy_dwarf_value {
    enum spy_dwarf_class class;
    uint64_t number;
    const char *text;
};

// A value of the form (DWARF 5, section 7.5.6). The cursor is bad where the form is not known.
struct spy_dwarf_value spy_dwarf_take(const struct spy_dwarf *d, const struct spy_dwarf_unit *u,
                                      struct spy_cursor *c, uint64_t form);

// The attributes that are read of an entry.
struct spy_dwarf_entry {
    uint16_t tag; // 0: a null entry, which ends the children of the one above
    bool has_children;
    const char *name, *linkage_name, *folder;
    bool has_low, has_high, high_is_length;
    uint64_t low, high;
    struct spy_dwarf_value ranges; // class OTHER: none
    uint64_t origin;               // a place in .debug_info; 0: none
    uint32_t call_file, call_line;
    bool has_line;
    uint64_t line, str_base, addr_base, rnglists_base;
};

// The entry at the cursor, which is moved behind it. False: no sense, or the budget is used up.
bool spy_dwarf_next(struct spy_dwarf *d, struct spy_dwarf_unit *u, struct spy_cursor *c,
                    struct spy_dwarf_entry *ret);

// Fills what the unit's first entry says, which *ret is. False: it makes no sense.
bool spy_dwarf_unit_begin(struct spy_dwarf *d, struct spy_dwarf_unit *u,
                          struct spy_dwarf_entry *ret);

// Calls `add` for each range of addresses of the entry until it gives false.
typedef bool spy_dwarf_range(void *context, uint64_t start, uint64_t end);
void spy_dwarf_ranges(struct spy_dwarf *d, const struct spy_dwarf_unit *u,
                      const struct spy_dwarf_entry *e, spy_dwarf_range *add, void *context);
