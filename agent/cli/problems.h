// problems.h - tells the collector why pods, containers or all of the node have no data. Inside of
// agent/cli.
//
// A problem travels in a window as a series without samples, labelled podspy.problem: when it is
// new, and every five minutes while it lasts. So the collector can answer for pods that nobody
// samples.
#pragma once
#include "agent/cli/labels.h"
#include "agent/discover/discover.h"
#include "shared/profile/profile.h"

enum { SPY_PROBLEM_SLOTS = 2048, SPY_PROBLEMS_OF_NODE = 8 };

struct spy_problems {
    // When each was told last, by hash; two in one slot are told more often.
    struct {
        uint64_t hash, told_ns;
    } slots[SPY_PROBLEM_SLOTS];
    // What holds for all of the node from the agent's start on.
    char node_texts[SPY_PROBLEMS_OF_NODE][240];
    size_t n_node_texts;
    // Of the call that runs.
    struct spy_profile *window;
    uint64_t start_ns;
    const struct spy_cli_labels *node;
};

// Adds what is due to a closed window that began at start_ns (Unix time). node: labels that every
// series bears. A series that does not fit is left out, and told with a later window.
void spy_problems_tell(struct spy_problems *p, const struct spy_discover *d,
                       struct spy_profile *window, uint64_t start_ns,
                       const struct spy_cli_labels *node);

// Tells that of the node with every window that is due; beyond SPY_PROBLEMS_OF_NODE it is left out.
void spy_problems_of_node(struct spy_problems *p, const char *text);
