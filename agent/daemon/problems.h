// problems.h - reports to the collector why pods, containers or the whole node have no data. Inside
// of agent/daemon.
//
// A problem travels in a window as a series without samples, labelled podspy.problem. It is added
// when it is new, and again every five minutes while it lasts, so that the collector can answer for
// pods that are not sampled.
#pragma once
#include "agent/daemon/series_labels.h"
#include "agent/discover/discover.h"
#include "shared/profile/profile.h"

enum { SPY_PROBLEM_SLOTS = 2048, SPY_PROBLEMS_OF_NODE = 8 };

// Zeroed by the caller.
struct spy_problems {
    // When each problem was last added, by hash. Two that share a slot are added more often.
    struct {
        uint64_t hash, added_ns;
    } slots[SPY_PROBLEM_SLOTS];
    // Problems of the whole node.
    char node_texts[SPY_PROBLEMS_OF_NODE][240];
    size_t n_node_texts;
    // The arguments of the spy_problems_add_due that runs.
    struct spy_profile *window;
    uint64_t start_ns;
    const struct spy_series_labels *node;
};

// Adds the problems that are due to a closed window, which began at start_ns (Unix time). Each of
// their series carries the labels in node. A series that does not fit is added to a later window.
void spy_problems_add_due(struct spy_problems *p, const struct spy_discover *d,
                          struct spy_profile *window, uint64_t start_ns,
                          const struct spy_series_labels *node);

// Records a problem of the whole node, for all windows to come. More than SPY_PROBLEMS_OF_NODE are
// dropped.
void spy_problems_add_node(struct spy_problems *p, const char *text);
