// debug_info.h - what debugging information says of an address: the source line, and the calls that
// the compiler put inline there. By own code over sections read into memory: see
// docs/adr/0020-inlined-calls-by-own-reader.md.
//
// Only what an answer needs is read: the unit that .debug_aranges names for the address (else an
// index of the first entries of all units that are not in it), in it the functions, of one function
// the inlined calls, and the lines only where they are asked for. All that is read is kept, and takes
// at most what the owner allows.
#pragma once
#include "agent/native/dwarf.h"

enum { SPY_DEBUG_LINES_MAX = 16 };

struct spy_debug_line {
    const char *function; // demangled; NULL: not known
    const char *file;     // absolute where the compiler says so; NULL: not known
    uint32_t line;        // 0: not known
};

struct spy_unit_range {
    uint64_t start, end;
    uint64_t unit; // its place in .debug_info
};

struct spy_debug_info {
    struct spy_dwarf dwarf;
    struct spy_unit_range *ranges; // by rising start
    size_t n_ranges, cap_ranges;
    bool has_others;                      // units that .debug_aranges does not name are in it, too
    char *texts[2 * SPY_DEBUG_LINES_MAX]; // of the last answer
    size_t n_texts;
};

// The codes of spy_dwarf_load.
int spy_debug_info_load(const struct spy_elf *e, size_t max_bytes, struct spy_debug_info *ret);
void spy_debug_info_done(struct spy_debug_info *d);

// address as in the file. From the innermost inlined call to the function that has the code: the
// number of them, 0 where nothing is known. Texts stay until the next call.
size_t spy_debug_info_find(struct spy_debug_info *d, uint64_t address,
                           struct spy_debug_line ret[SPY_DEBUG_LINES_MAX]);

// The functions of the inlined calls only, which costs less: the same without the last.
size_t spy_debug_info_inlined(struct spy_debug_info *d, uint64_t address,
                              const char *ret[SPY_DEBUG_LINES_MAX]);
