// maps.h - a list of memory mappings, as /proc/PID/maps has them, parsed and bounded.
#pragma once
#include "shared/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

// Parses the text of /proc/PID/maps, and overwrites it. SPY_ERR_LIMIT, SPY_ERR_NOMEM.
int spy_maps_parse(char *text, struct spy_maps *ret);
// Adds a mapping at the end. SPY_ERR_LIMIT, SPY_ERR_NOMEM.
int spy_maps_add(struct spy_maps *m, const struct spy_mapping *mapping, const char *path);
void spy_maps_free(struct spy_maps *m);
const char *spy_maps_path(const struct spy_maps *m, const struct spy_mapping *mapping);
// The mapping that holds addr, or NULL.
const struct spy_mapping *spy_maps_find(const struct spy_maps *m, uint64_t addr);
