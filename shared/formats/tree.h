// tree.h - the samples that a view chooses, merged into one tree. Inside of shared/formats.
#pragma once
#include "shared/formats/format.h"

enum spy_node_kind {
    SPY_NODE_ROOT,
    SPY_NODE_STATE,
    SPY_NODE_FRAME,
    SPY_NODE_PROCESS,
    SPY_NODE_THREAD,
    SPY_NODE_FOLDED
};

struct spy_node {
    uint32_t parent, first_child, next; // 0: none; node 0 is the root
    uint32_t kind;                      // enum spy_node_kind; it says which of these there is
    union {
        uint64_t id; // all of it: what tells the children of one parent and kind apart
        struct {
            uint32_t function, line; // FRAME
        };
        struct {
            uint32_t series, thread; // PROCESS, without thread; THREAD
        };
        uint32_t folded; // FOLDED: how many nodes
        uint32_t state;  // STATE: bits of enum spy_state
    };
    uint32_t depth;             // the root's is 0
    uint64_t self, total;       // samples
    uint64_t self_ns, total_ns; // wall time
};

struct spy_tree {
    const struct spy_profile *profile; // borrowed
    struct spy_view view;
    struct spy_node *nodes;          // owned
    struct spy_process_names *names; // owned; NULL: no processes are shown
    size_t n, cap;
    uint32_t max_depth;
    bool by_time; // nodes are weighed by wall time; else by count, for profiles without a period
    double scales[2]; // of count and of ns, where the view compares
    double cutoff;    // of z there (compare.h); set by svg
};

// Builds the tree; children are sorted by their label. It has at most view.max_nodes nodes, plus
// the root and the folded ones. SPY_ERR_NOMEM, SPY_ERR_LIMIT, SPY_ERR_GONE (the view's stop).
int spy_tree_build(const struct spy_profile *p, const struct spy_view *v, struct spy_tree *ret);
void spy_tree_free(struct spy_tree *t);

static inline uint64_t spy_node_weight(const struct spy_tree *t, const struct spy_node *n)
{
    if (t->view.compares)
        return (uint64_t)((double)n->total * t->scales[0] + (double)n->total_ns * t->scales[1]);
    return t->by_time ? n->total_ns : n->total;
}

// Appends "name (file:line)" of a node without any escaping: one line, without control characters,
// names cut at 1024 bytes. It fits in SPY_LABEL_MAX bytes.
enum { SPY_LABEL_MAX = 8192 };
int spy_node_label(const struct spy_tree *t, const struct spy_node *n, struct spy_buf *out);
// The parts of a SPY_NODE_FRAME's label: its name, and its file, given as a string of the profile.
int spy_node_name(const struct spy_tree *t, const struct spy_node *n, struct spy_buf *out);
int spy_node_file(const struct spy_tree *t, uint32_t filename, struct spy_buf *out);
// The next node in depth-first order, or 0 at the end.
uint32_t spy_tree_next(const struct spy_tree *t, uint32_t node);
