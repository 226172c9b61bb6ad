// levels.h - the samples of one type as a tree of functions, and the tree as levels of bars. Inside
// of collector/grafana.
#pragma once
#include "collector/grafana/message.h"

enum { SPY_LEVELS_NODES = 16384, SPY_LEVELS_NODES_MAX = 1000000 };

// Merges the samples of the series that has[] names, by function, into `to`, whose memory is the
// arena's. Has at most max_nodes nodes besides the root; the smallest are folded into an "other" below
// their parent, so the total stays right. Children are ordered by name. Without samples that
// weigh something, *to has no levels. SPY_ERR_LIMIT (the arena's cap), SPY_ERR_NOMEM, SPY_ERR_GONE.
int spy_levels_make(const struct spy_profile *p, const bool *has, const struct spy_type_asked *type,
                    uint32_t max_nodes, struct spy_arena *arena, const bool *stop,
                    Spy__Querier__FlameGraph *to, struct spy_err *err);
