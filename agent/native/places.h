// places.h - the executable memory of one target and the modules behind it. Inside of agent/native.
#pragma once
#include "agent/native/module.h"

struct spy_place {
    uint64_t start, end;
    uint64_t bias; // address in memory minus address in the file
    struct spy_native_module *module;
    const struct spy_mapping *mapping; // in maps
    bool tried;                        // to load the module; NULL then means that it cannot be
};

struct spy_places {
    struct spy_modules_list *list;
    const struct spy_target *target;
    struct spy_maps maps;
    struct spy_place *places; // by rising address
    size_t n;
    uint64_t loaded_ns; // 0: not yet
    uint32_t changes;   // of the places, as they were read
};

enum { SPY_PLACES_AGE_NS = 1000000000, SPY_PLACES_PAUSE_NS = 100000000 };

// Reads the maps again if they are older than age_ns. 1: they were read; 0: they were young enough;
// a code of spy_maps_load: the old maps stay. A mapping that has not changed keeps its module.
int spy_places_renew(struct spy_places *p, uint64_t age_ns);
void spy_places_done(struct spy_places *p);
// The place that holds the address. NULL: the address is not in executable memory.
struct spy_place *spy_places_find(const struct spy_places *p, uint64_t address);
// The module of the place; the first call loads it. NULL: the code comes from no file, or the file
// cannot be opened.
struct spy_native_module *spy_place_module(struct spy_places *p, struct spy_place *place);
// The debugging information of its module, read at the first call. NULL: none.
struct spy_debug_info *spy_place_debug_info(struct spy_places *p, struct spy_place *place);
