// still.h - memory that stands still: that of a core file, or one that a test makes up. Inside of
// agent/target and of tests; what reads a target does not see the difference.
//
// Addresses are looked for first in the pieces (bytes that are there), then, for a core, in the
// file that was mapped at the address: cores leave out pages that no process has written to. Such a
// file is opened by the path the core gives, only when it is a regular ELF file whose first page is
// the one that the core holds of it (that page has its build id), so that neither an upgraded
// package nor a made-up core passes for what was mapped. What is nowhere is SPY_ERR_TORN.
//
// Files are read with pread, never mapped: one that is cut while it is read is SPY_ERR_TORN.
#pragma once
#include "agent/target/maps.h"
#include "agent/target/threads.h"

struct spy_still_piece {
    uint64_t start, end;
    const uint8_t *bytes; // borrowed; NULL: in the file `fd`
    uint64_t at;          // where in that file
};

struct spy_still {
    pid_t pid;
    struct spy_maps maps;           // for a core, mapping.inode is the number of its file; 0: none
    struct spy_still_piece *pieces; // by rising address, not overlapping
    size_t n_pieces, cap_pieces;
    struct spy_tid *tids;
    size_t n_tids, cap_tids;
    int fd;         // the core file, owned; -1: none
    bool zero_fill; // what is mapped but in no piece reads as zeros
    int *files;     // by number - 1: an open descriptor, or one of the two below
    size_t n_files, cap_files;
    size_t n_open;
    uint32_t missing; // path of the first file that was wanted and not had, in maps.paths; 0: none
    bool as_live;     // for tests: readers treat it as a process that runs
    // For tests that record what is read; NULL: none.
    void (*touched)(void *context, uint64_t addr, const void *bytes, size_t len);
    void *touched_context;
};

enum {
    SPY_STILL_UNTRIED = -1,
    SPY_STILL_NO_FILE = -2,
    SPY_STILL_OPEN_MAX = 512,
    SPY_STILL_PIECES_MAX = SPY_MAPS_MAX,
};

struct spy_still *spy_still_new(void); // NULL: no memory
void spy_still_free(struct spy_still *s);
// Sorts the pieces and the maps. SPY_ERR_INVALID when two of one kind overlap or one ends before it
// begins.
int spy_still_settle(struct spy_still *s);
int spy_still_add_piece(struct spy_still *s, const struct spy_still_piece *piece);
int spy_still_add_tid(struct spy_still *s, pid_t tid);
// Exactly len bytes at addr, or SPY_ERR_TORN.
int spy_still_read(struct spy_still *s, uint64_t addr, void *to, size_t len);
// The file that was mapped there, borrowed; -1: it is not here, or another one is. `mapping` is one
// of s->maps.
int spy_still_file(struct spy_still *s, const struct spy_mapping *mapping);

// The target that reads s, which it takes over (also when it fails).
int spy_target_of_still(struct spy_still *s, struct spy_target **ret);
struct spy_still *spy_target_still(const struct spy_target *t); // borrowed; NULL: a live process
