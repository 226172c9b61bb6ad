// symbols.h - the address of a symbol in a target.
//
// First the dynamic symbols as they stand in the target's own memory (PT_DYNAMIC: DT_GNU_HASH or
// DT_HASH, DT_SYMTAB, DT_STRTAB; System V gABI, chapter 5): that needs no file, so it works for
// another mount namespace, a chroot, another C library and a package that was upgraded under a
// running process. Then, for an executable without dynamic symbols, .symtab of the file.
#pragma once
#include "agent/target/maps.h"

// A file mapped at its first page. base is the address that symbol values are relative to.
struct spy_module {
    uint64_t start; // where the ELF header lies
    uint64_t base;
    const char *path; // borrowed from the spy_maps
};

// The modules of a target in address order; at most max. Returns the number.
size_t spy_modules(const struct spy_target *t, const struct spy_maps *m, struct spy_module *out,
                   size_t max);
// The address of a defined dynamic symbol of module. 0, SPY_ERR_NOTFOUND, SPY_ERR_TORN (the ELF
// makes no sense), or a code of spy_target_read.
int spy_module_symbol(const struct spy_target *t, const struct spy_module *module, const char *name,
                      uint64_t *ret);
// The same from .symtab or .dynsym of the file, opened through /proc/PID (map_files, exe, or root +
// path without leaving that root).
int spy_module_file_symbol(const struct spy_target *t, const struct spy_maps *m,
                           const struct spy_module *module, const char *name, uint64_t *ret);
// The value of a defined symbol in .symtab or .dynsym of an ELF file. The work is bounded.
int spy_symbols_of_file(int fd, const char *name, uint64_t *ret);
