// elf_file.h - the parts of an ELF file that unwinding and symbols need, from a descriptor or from
// bytes. Only 64-bit files of this machine.
//
// Files are read with pread and never mapped: if the owner truncates the file, a read ends early,
// where a mapping would end podspy with SIGBUS. Nothing in a file is trusted: each read is checked
// against the size of the file, each table has a bound.
#pragma once
#include "shared/base/err.h"
#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SPY_ELF_PHDRS_MAX = 64, SPY_ELF_SECTIONS_MAX = 4096, SPY_ELF_ID_MAX = 32 };

struct spy_elf {
    int fd;               // borrowed; -1: the file is in bytes
    const uint8_t *bytes; // borrowed
    uint64_t size;
    Elf64_Phdr ph[SPY_ELF_PHDRS_MAX];
    size_t n_ph;
    Elf64_Shdr *sh; // owned; NULL: a file without section headers
    size_t n_sh;
    char *names; // names of the sections, owned
    size_t names_len;
};

// SPY_ERR_INVALID: the file is damaged or not ELF; SPY_ERR_UNSUPPORTED: it is for another machine;
// SPY_ERR_NOMEM. After success, and only then, the caller closes it with spy_elf_done.
int spy_elf_open_fd(int fd, struct spy_elf *ret);
int spy_elf_open_bytes(const void *bytes, size_t len, struct spy_elf *ret);
void spy_elf_done(struct spy_elf *e);

// Reads exactly len bytes at an offset of the file, or returns SPY_ERR_INVALID.
int spy_elf_get(const struct spy_elf *e, uint64_t at, void *to, size_t len);
// The same into new memory, with a NUL after the bytes; the caller frees *ret. SPY_ERR_LIMIT: len
// is over max.
int spy_elf_load(const struct spy_elf *e, uint64_t at, uint64_t len, uint64_t max, uint8_t **ret);
// The section of that name that has bytes in the file, or NULL.
const Elf64_Shdr *spy_elf_section(const struct spy_elf *e, const char *name);
// The first section of that type that has bytes in the file, or NULL.
const Elf64_Shdr *spy_elf_section_of_type(const struct spy_elf *e, uint32_t type);
// Copies the GNU build id and returns its length; 0: the file has none of at most SPY_ELF_ID_MAX.
size_t spy_elf_build_id(const struct spy_elf *e, uint8_t ret[SPY_ELF_ID_MAX]);
// The PT_LOAD that holds the offset of the file, or NULL. The whole first and last page of a
// segment belong to it, since the kernel maps whole pages.
const Elf64_Phdr *spy_elf_segment(const struct spy_elf *e, uint64_t offset);
