// dwarf.h - debugging information of one file (DWARF 2 to 5): its sections, its units and their
// entries. Inside of agent/native; debug_info.h is what others use.
//
// The file is hostile. No recursion: entries are read one after the other, with a counter for the
// depth. All loops take from one budget of steps a file, so that a file that is made up to cost
// time has no information in the end. What is split into other files (.dwo, dwz) is not read.
//
// Units of .debug_info are read when they are asked for, and of the others a part of their
// headers; other sections whole, when first needed.
#pragma once
#include "agent/native/cursor.h"
#include "agent/native/section.h"

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
    SPY_DWARF_ARANGES,
    SPY_DWARF_SECTIONS,
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
    bool has_begun; // spy_dwarf_unit_begin was called
    bool is_sound;  // its first entry makes sense
    bool is_listed; // its addresses are in the index of debug_info.c
    bool has_line;
    struct spy_unit_code *code; // what debug_info.c made of it
};

struct spy_dwarf {
    struct spy_elf file;  // without its headers
    bool owns_descriptor; // of the file
    struct spy_section sections[SPY_DWARF_SECTIONS];
    struct spy_dwarf_unit **units; // by rising place; each is owned
    size_t n_units, cap_units;
    uint64_t units_end; // in .debug_info: the unit behind those that are known; UINT64_MAX: none
    size_t n_begun;     // units that were looked into, so far
    uint64_t steps_left;
    size_t bytes_left; // of memory
};

// SPY_ERR_NOTFOUND: the file has none; SPY_ERR_LIMIT: its sections take more than max_bytes;
// SPY_ERR_INVALID, SPY_ERR_NOMEM. The descriptor of e is duplicated, bytes must outlive ret.
int spy_dwarf_load(const struct spy_elf *e, size_t max_bytes, struct spy_dwarf *ret);
void spy_dwarf_done(struct spy_dwarf *d);
// What the sections take, and tables made of them may take: as much again.
size_t spy_dwarf_bytes(const struct spy_dwarf *d);
// Takes from the budgets. False: they are used up.
bool spy_dwarf_spend(struct spy_dwarf *d, uint64_t steps, size_t bytes);
// The unit that has the place in .debug_info (its header included), or NULL.
struct spy_dwarf_unit *spy_dwarf_unit_at(struct spy_dwarf *d, uint64_t at);
// Finds the unit behind those that are known. False: there are no more.
bool spy_dwarf_next_unit(struct spy_dwarf *d);
// The length that begins a unit of a section: what it counts. The cursor is moved behind it; both are
// bad where the section ends before. *ret_offset_size: 4 or 8.
struct spy_cursor spy_dwarf_take_length(struct spy_cursor *c, uint8_t *ret_offset_size);
// In any section but .debug_info. Bad where the section cannot be read.
struct spy_cursor spy_dwarf_cursor(struct spy_dwarf *d, enum spy_dwarf_section s, uint64_t at);
// From a place in the unit to the unit's end.
struct spy_cursor spy_dwarf_unit_cursor(struct spy_dwarf *d, const struct spy_dwarf_unit *u,
                                        uint64_t at);
// The NUL-ended text at the place, which is in the section whole, or NULL.
const char *spy_dwarf_text(struct spy_dwarf *d, enum spy_dwarf_section s, uint64_t at);

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
struct spy_dwarf_value spy_dwarf_take(struct spy_dwarf *d, const struct spy_dwarf_unit *u,
                                      struct spy_cursor *c, uint64_t form);

// The attributes that are read of an entry.
struct spy_dwarf_entry {
    uint16_t tag; // 0: a null entry, which ends the children of the one above
    bool has_children;
    const char *name, *linkage_name, *folder;
    bool has_low, has_high, high_is_length;
    uint64_t low, high;
    struct spy_dwarf_value ranges; // class OTHER: none
    uint64_t origin, sibling;      // places in .debug_info; 0: none
    uint32_t call_file, call_line;
    bool has_line;
    uint64_t line, str_base, addr_base, rnglists_base;
};

// The entry at the cursor, which is moved behind it. False: no sense, or the budget is used up.
bool spy_dwarf_next(struct spy_dwarf *d, struct spy_dwarf_unit *u, struct spy_cursor *c,
                    struct spy_dwarf_entry *ret);

// The one entry at a place in the unit. False: it makes no sense.
bool spy_dwarf_entry_at(struct spy_dwarf *d, struct spy_dwarf_unit *u, uint64_t at,
                        struct spy_dwarf_entry *ret);

// Fills what the unit's first entry says, once. False: it makes no sense.
bool spy_dwarf_unit_begin(struct spy_dwarf *d, struct spy_dwarf_unit *u);

// Calls `add` for each range of addresses of the entry until it gives false.
typedef bool spy_dwarf_range(void *context, uint64_t start, uint64_t end);
void spy_dwarf_ranges(struct spy_dwarf *d, const struct spy_dwarf_unit *u,
                      const struct spy_dwarf_entry *e, spy_dwarf_range *add, void *context);
