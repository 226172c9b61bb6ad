// symbols.h - the address of a symbol in a target.
//
// Dynamic symbols are read from the target's own memory (PT_DYNAMIC: DT_GNU_HASH or DT_HASH,
// DT_SYMTAB, DT_STRTAB; System V gABI, chapter 5). That needs no file, so it works across mount
// namespaces and chroots, with any C library, and after a package was upgraded under a running
// process. For an executable without dynamic symbols, the file's .symtab is read.
#pragma once
#include "agent/target/maps.h"
#include "agent/target/target.h"

// A file mapped at its first page, which may be a program or a library.
struct spy_module {
    uint64_t start;   // where the ELF header would lie
    const char *path; // borrowed from the spy_maps
};

// All files that are mapped at their first page, in address order. *ret is an array to free(), NULL
// if there are none. Reads none of them. SPY_ERR_NOMEM.
int spy_modules(const struct spy_maps *m, struct spy_module **ret, size_t *ret_n);

// The dynamic symbols of a module, for several look-ups. Addresses are the target's.
struct spy_symbols {
    uint64_t base; // what symbol values are relative to
    uint64_t symtab, strtab, strsz, gnu_hash, hash;
};
// SPY_ERR_NOTFOUND: it has none; SPY_ERR_TORN: not an ELF file, or a damaged one; or a code of
// spy_target_read. ret->base is set with SPY_ERR_NOTFOUND, too.
int spy_symbols_open(const struct spy_target *t, const struct spy_module *module,
                     struct spy_symbols *ret);
// The address of a defined symbol. 0, SPY_ERR_NOTFOUND, SPY_ERR_TORN, or a code of spy_target_read.
int spy_symbols_find(const struct spy_target *t, const struct spy_symbols *symbols,
                     const char *name, uint64_t *ret);
// Both, for one look-up.
int spy_module_symbol(const struct spy_target *t, const struct spy_module *module, const char *name,
                      uint64_t *ret);
// The same from .symtab or .dynsym of the file, opened through /proc/PID (map_files, exe, or root +
// path without leaving that root).
int spy_module_file_symbol(const struct spy_target *t, const struct spy_maps *m,
                           const struct spy_module *module, const char *name, uint64_t *ret);
// The address of a section that is loaded, by its name in the section headers of that file.
int spy_module_file_section(const struct spy_target *t, const struct spy_maps *m,
                            const struct spy_module *module, const char *name, uint64_t *ret);
// The same as the file has it. The work is bounded.
int spy_section_of_file(int fd, const char *name, uint64_t *ret);
// The value of a defined symbol in .symtab or .dynsym of an ELF file. The work is bounded.
int spy_symbols_of_file(int fd, const char *name, uint64_t *ret);
// The file that is mapped there: through map_files, else by its path in the target's root. Only the
// inode that is mapped, so not a file that took the place of a deleted one. A descriptor, or -1.
int spy_target_open_mapping(const struct spy_target *t, const struct spy_mapping *mapping,
                            const char *path);
