// perf_map.h - names of code that was made at run time, as JIT compilers and CPython's -X perf
// write them for perf: /tmp/perf-PID.map, a line "START SIZE NAME" each, in hexadecimal
// (tools/perf/Documentation/jit-interface.txt of Linux).
//
// The target writes the file as it likes. At most SPY_PERF_MAP_BYTES_MAX of it are read.
#pragma once
#include "agent/target/target.h"

enum { SPY_PERF_MAP_BYTES_MAX = 32 << 20, SPY_PERF_MAP_LINES_MAX = 1 << 20 };

struct spy_perf_map_entry {
    uint64_t start, end;
    uint32_t name;  // in text
    uint32_t order; // the line; code that is made later at the same place has the later one
};

struct spy_perf_map {
    struct spy_perf_map_entry *list; // by rising address, then by line
    size_t n, cap;
    char *text;          // owned
    uint64_t size;       // of the file when it was read
    uint64_t checked_ns; // when it was last looked at; 0: not yet
};

// Takes text over (also on failure), which is len bytes and a NUL. What does not parse is passed
// over. SPY_ERR_NOMEM.
int spy_perf_map_parse(char *text, size_t len, struct spy_perf_map *ret);
void spy_perf_map_done(struct spy_perf_map *m);
// The name of the code at the address, borrowed from the map, or NULL.
const char *spy_perf_map_find(const struct spy_perf_map *m, uint64_t address);
// Reads the target's file again if it has grown, at most once in SPY_PERF_MAP_CHECK_NS. True: there
// are other names now.
enum { SPY_PERF_MAP_CHECK_NS = 500000000 };
bool spy_perf_map_renew(struct spy_perf_map *m, const struct spy_target *t);
