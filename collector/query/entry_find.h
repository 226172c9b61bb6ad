// entry_find.h - the entry of each stack of a profile. Inside of collector/query.
//
// The entry is the function that a dispatcher calls: a dispatcher of a known framework
// (entry_table.h) or of the collector's configuration; of several, the innermost. Between the two
// there may be frames of native code, of frameworks and of the standard library. What a dispatcher
// calls in its own file is not an entry. Under a server's dispatcher the entry is the application,
// which may be a framework's.
//
// Each function is matched once, and each stack of the prefix tree takes two lookups. Threads: none
// shared; the profile must not change while the result is in use, but for new entries at its end.
#pragma once
#include "collector/query/entry_table.h"
#include "collector/query/query.h"

enum { SPY_ENTRIES_MAX = 1 << 20 };

struct spy_entry {
    uint32_t function; // of the profile
    enum spy_entry_kind kind;
    const char *framework; // static; "own": a dispatcher of the configuration
};

struct spy_entries {
    struct spy_entry *list;
    size_t n, cap;
    uint32_t n_stacks;
    uint32_t *of_stack; // by stack: index into list + 1; 0: no entry
    bool *begins; // by stack: its innermost frame is the entry's own, called by the dispatcher
};

// q: the patterns and the stop flag. SPY_ERR_INVALID: a pattern takes too many steps; SPY_ERR_GONE:
// stop was set; SPY_ERR_LIMIT, SPY_ERR_NOMEM. *ret goes with spy_entries_done, on success.
int spy_entries_find(const struct spy_question *q, const struct spy_profile *p,
                     struct spy_entries *ret, struct spy_err *err);
void spy_entries_done(struct spy_entries *e);
