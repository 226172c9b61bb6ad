// section.h - a section of debugging information, read no further than it is asked for. Inside of
// agent/native.
//
// A section has a place in memory for all of its bytes, which the system gives as they are filled:
// of 16 MB of a large program usually 1 or 2. An uncompressed one (the usual case) is read in
// blocks; a compressed one (SHF_COMPRESSED: zlib or zstd) is unpacked from its start up to what is
// wanted. What was read stays as it is, even if the file changes.
#pragma once
#include "agent/native/elf_file.h"

struct spy_unpacker;

struct spy_section {
    uint8_t *bytes; // owned, with a NUL behind them; 0 where they were not read. NULL: no section
    size_t len;
    size_t n_read; // of them, so far
    // The rest is for section.c.
    uint64_t at;      // in the file
    uint64_t *blocks; // a bit each: it was read. Owned; NULL: the section is compressed
    struct spy_unpacker *unpacker; // owned; NULL: all is unpacked, or was never packed
    size_t n_ready;                // bytes at the start that are there
};

// Reads its place only. SPY_ERR_NOTFOUND; SPY_ERR_LIMIT: more than max bytes; SPY_ERR_INVALID,
// SPY_ERR_NOMEM. *ret is valid after success only.
int spy_section_open(const struct spy_elf *e, const char *name, uint64_t max,
                     struct spy_section *ret);
void spy_section_done(struct spy_section *s);

// Reads these bytes from the same file, if they were not read before; those past the end do not
// count. False: they cannot be read, now or ever.
bool spy_section_need(struct spy_section *s, const struct spy_elf *e, uint64_t at, uint64_t len);

// All of a section at once; *ret is to be freed, and has a NUL behind it. The codes of both.
int spy_section_load(const struct spy_elf *e, const char *name, uint64_t max, uint8_t **ret,
                     size_t *ret_len);
