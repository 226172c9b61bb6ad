// symtab.h - the functions of one module, by address.
//
// They come from .symtab of the file; where that was stripped, from .symtab of its debug file or of
// .gnu_debugdata (xz, minidebuginfo), each together with .dynsym. All are read once, sorted and kept:
// 16 bytes a symbol and their names.
//
// A symbol answers for the addresses in its size; one without size (hand-written assembly) up to
// the next symbol. Of several at one address a global one wins over a weak one over a local one,
// then the one with fewer leading underscores, then the shorter name.
#pragma once
#include "agent/native/elf_file.h"

enum {
    SPY_SYMTAB_SYMBOLS_MAX = 2 << 20,
    SPY_SYMTAB_TEXT_MAX = 128 << 20,
    SPY_SYMTAB_NAME_MAX = 1024, // a longer name is cut
};

struct spy_symtab_entry {
    uint64_t start;
    uint32_t size;
    uint32_t name; // in text
};

struct spy_symtab {
    struct spy_symtab_entry *list; // by rising address, then the preferred one first
    size_t n, cap;
    char *text; // names of all files, each ended by a NUL
    size_t text_len, text_cap;
    size_t max_bytes; // of list and text, set by the owner; tables that do not fit are left out
    char **shown;     // by index, made when first asked for: demangled; NULL: not asked yet
};

// Adds the functions of a file; call spy_symtab_settle after the last. A file without any is 0.
// SPY_ERR_NOMEM, SPY_ERR_LIMIT (nothing of the table was added).
int spy_symtab_add(struct spy_symtab *s, const struct spy_elf *e, bool *ret_has_symtab);
// The same of the file that is packed in .gnu_debugdata. SPY_ERR_NOTFOUND: there is none.
int spy_symtab_add_packed(struct spy_symtab *s, const struct spy_elf *e);
void spy_symtab_settle(struct spy_symtab *s);
size_t spy_symtab_bytes(const struct spy_symtab *s);
void spy_symtab_done(struct spy_symtab *s);

// The index of the symbol that answers for the address (as in the file), or SIZE_MAX.
size_t spy_symtab_find(const struct spy_symtab *s, uint64_t address);
// The index of the first symbol above the address; n: there is none.
size_t spy_symtab_after(const struct spy_symtab *s, uint64_t address);
// Its name as people read it (demangle.h). Borrowed; NULL without memory.
const char *spy_symtab_name(struct spy_symtab *s, size_t index);
// The name as it stands in the table; whoever reads it stops at SPY_SYMTAB_NAME_MAX.
const char *spy_symtab_raw_name(const struct spy_symtab *s, size_t index);
