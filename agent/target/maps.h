// maps.h - what is mapped into a target: /proc/PID/maps, parsed and bounded.
#pragma once
#include "agent/target/target.h"

struct spy_mapping {
    uint64_t start, end, offset, inode;
    bool readable, writable, executable;
    uint32_t path; // offset of the NUL-terminated path in spy_maps.paths; 0: "" (anonymous)
};

struct spy_maps {
    struct spy_mapping *list; // by rising address
    size_t n, cap;
    char *paths;
    size_t paths_len, paths_cap;
};

enum { SPY_MAPS_MAX = 65536 }; // the kernel's default vm.max_map_count is 65530

// Fills *ret (zeroed before). SPY_ERR_DENIED, SPY_ERR_GONE (also a process without memory: a zombie
// or a kernel thread), SPY_ERR_LIMIT.
int spy_maps_load(const struct spy_target *t, struct spy_maps *ret, struct spy_err *err);
// The same from the text of such a file, which is taken apart in place. SPY_ERR_LIMIT,
// SPY_ERR_NOMEM.
int spy_maps_parse(char *text, struct spy_maps *ret);
// Adds one at the end. SPY_ERR_LIMIT, SPY_ERR_NOMEM.
int spy_maps_add(struct spy_maps *m, const struct spy_mapping *mapping, const char *path);
void spy_maps_free(struct spy_maps *m);
const char *spy_maps_path(const struct spy_maps *m, const struct spy_mapping *mapping);
// The mapping that holds addr, or NULL.
const struct spy_mapping *spy_maps_find(const struct spy_maps *m, uint64_t addr);
