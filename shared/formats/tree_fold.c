// tree_fold.c - keeps the heaviest nodes of a tree; what each has lost becomes one node below it.
#include "shared/base/mem.h"
#include "shared/formats/tree.h"
#include <stdlib.h>

enum { NODES_AND_RESTS_MAX = 1 << 24, DEFAULT_MAX_NODES = 20000 };

// The weight that `max` nodes have at least, and how many of these have just that weight: byte by
// byte from the top, as sorting all weights would take longer than all else here.
static uint64_t find_cutoff(const struct spy_tree *t, size_t max, size_t *ret_ties)
{
    uint64_t found = 0, mask = 0;
    size_t left = max; // to be found among the weights that begin as `found` does
    for (int shift = 56; shift >= 0; shift -= 8) {
        size_t counts[256] = {0};
        unsigned byte = 255;
        for (size_t i = 0; i < t->n; i++) {
            uint64_t w = spy_node_weight(t, &t->nodes[i]);
            counts[w >> shift & 255] += (w & mask) == found;
        }
        for (; counts[byte] < left; byte--)
            left -= counts[byte];
        found |= (uint64_t)byte << shift;
        mask |= (uint64_t)255 << shift;
    }
    *ret_ties = left;
    return found;
}

// A child never outweighs its parent and comes after it, so what is kept is a tree.
static void choose_kept(const struct spy_tree *t, uint64_t least, size_t ties, bool *kept)
{
    for (size_t i = 0; i < t->n; i++) {
        uint64_t w = spy_node_weight(t, &t->nodes[i]);
        kept[i] = !i || (kept[t->nodes[i].parent] && (w > least || (w == least && ties)));
        ties -= kept[i] && w == least && ties;
    }
}

// Takes the children of i that are not kept out of its list; their weight goes to *rest.
static void split_children(struct spy_tree *t, uint32_t i, const bool *kept, struct spy_node *rest)
{
    uint32_t keep = 0;
    for (uint32_t c = t->nodes[i].first_child, next; c; c = next) {
        struct spy_node *k = &t->nodes[c];
        next = k->next;
        if (kept[c]) {
            k->next = keep;
            keep = c;
            continue;
        }
        rest->folded++;
        rest->depth = k->depth;
        rest->self = rest->total = spy_add_sat(rest->total, k->total);
        rest->self_ns = rest->total_ns = spy_add_sat(rest->total_ns, k->total_ns);
    }
    t->nodes[i].first_child = keep;
}

int spy_tree_fold(struct spy_tree *t)
{
    size_t n = t->n, max = t->view.max_nodes ? t->view.max_nodes : DEFAULT_MAX_NODES, ties;
    if (n <= max)
        return 0;
    _cleanup_free_ bool *kept = calloc(n, sizeof *kept);
    if (!kept)
        return SPY_ERR_NOMEM;
    uint64_t least = find_cutoff(t, max, &ties);
    int r = 0;
    choose_kept(t, least, ties, kept);
    for (uint32_t i = 0; i < n; i++) {
        struct spy_node rest = {.parent = i, .kind = SPY_NODE_FOLDED};
        if (!kept[i])
            continue;
        split_children(t, i, kept, &rest);
        if (!rest.folded)
            continue;
        r = spy_grow(&t->nodes, &t->cap, t->n + 1, sizeof *t->nodes, NODES_AND_RESTS_MAX);
        if (r < 0)
            return r;
        rest.next = t->nodes[i].first_child;
        t->nodes[t->n] = rest;
        t->nodes[i].first_child = (uint32_t)t->n++;
    }
    return 0;
}
