// table.h - the places in the code that top counts: their time in the latest window and in all
// windows since the reset. Inside of agent/top.
//
// A table holds at most SPY_TOP_PLACES_MAX places. When it is nearly full, those with the least
// time become one place, SPY_TOP_OTHERS, which then stands for all of them: time is never lost.
//
// Threads: as the model that owns it.
#pragma once
#include "shared/base/map.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SPY_TOP_PLACES_MAX = 10000, SPY_TOP_OTHERS = 0 };

struct spy_top_place {
    char *name; // owned, valid UTF-8; file stands behind it in the same memory
    const char *file;
    uint32_t line;               // 0: not known, or the whole function
    uint64_t window, sample;     // the latest that counted it
    uint64_t own_now, total_now; // ns in the window `window`
    uint64_t own_all, total_all; // ns in all windows
};

// Zeroed at first.
struct spy_top_table {
    struct spy_top_place *places; // by index; the first is SPY_TOP_OTHERS
    size_t n, cap;
    struct spy_map map;
    uint64_t window, sample; // the current ones
};

void spy_top_table_free(struct spy_top_table *t); // leaves it empty, fit for use
// Begins a window, and makes room for its places. SPY_ERR_NOMEM.
int spy_top_table_begin(struct spy_top_table *t);
// The index of a place; SPY_TOP_OTHERS if there is no room for a new one. Valid for this window.
uint32_t spy_top_table_find(struct spy_top_table *t, const char *name, const char *file,
                            uint32_t line);
// Counts ns for the current sample: the caller raises `sample` for each. A place that stands on one
// stack several times (recursion) gets its total once.
void spy_top_table_count(struct spy_top_table *t, uint32_t index, uint64_t ns, bool innermost);
