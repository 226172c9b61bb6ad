// still.h - memory that does not change: of a core file, or made up by a test. Inside of
// agent/target and of tests; a reader of the target does not see the difference. target.h makes the
// target.
//
// An address is looked up in the pieces first (bytes that are present), then, for a core, in the
// file that was mapped there: cores leave out pages that no process has written to. Such a file is
// opened by the path that the core gives, and only if it is a regular ELF file whose first page is
// the one in the core (that page has the build id), so that neither an upgraded package nor a
// forged core passes for what was mapped. An address that is in neither is SPY_ERR_TORN.
//
// Files are read with pread and never mapped: a file that is truncated meanwhile is SPY_ERR_TORN.
#pragma once
#include "agent/target/maps.h"
#include <sys/types.h>

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
    pid_t *tids;
    size_t n_tids, cap_tids;
    int fd;         // the core file, owned; -1: none
    int root;       // the folder below which mapped files are, owned; -1: this machine's root
    bool zero_fill; // what is mapped but in no piece reads as zeros
    int *files;     // by number - 1: an open descriptor, or one of the three below
    size_t n_files, cap_files;
    size_t n_open;
    uint32_t missing; // path of the first file that was wanted and not had, in maps.paths; 0: none
    bool missing_differs; // a file is there, but another one than was mapped
    bool as_live;         // for tests: readers treat it as a process that runs
    // For tests that record what is read; NULL: none.
    void (*touched)(void *context, uint64_t addr, const void *bytes, size_t len);
    void *touched_context;
};

enum {
    SPY_STILL_UNTRIED = -1,
    SPY_STILL_NO_FILE = -2,
    SPY_STILL_OTHER_FILE = -3, // a file is there, but another than was mapped
    SPY_STILL_OPEN_MAX = 512,
    SPY_STILL_PIECES_MAX = SPY_MAPS_MAX,
    SPY_STILL_TIDS_MAX = 65536,
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
