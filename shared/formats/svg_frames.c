// All frames of a flamegraph as text for its script, which draws from them whatever is zoomed to:
//
//     PERIOD                       ns for each sample; 0: widths are counts
//     FILE ...                     file names as they are shown, a line each
//                                  an empty line
//     COLOUR FILE NAME ...         functions and whatever else is named: the number of its colour,
//                                  the number of its file (from 1; 0: none) and its name
//                                  an empty line
//     UP,WHAT,LINE,SELF,NS ...     the tree in depth-first order, a space between two: how many
//                                  steps up from the node before it its parent is, the number of
//                                  its line above (from 1; 0: "(LINE smaller)"), its line, its own
//                                  samples, and their ns where they are not SELF times PERIOD
//
// Numbers are to base 36, trailing zeros and their commas left out. What a node weighs is the sum
// of what is its own and its children's, and where it stands follows from the widths before it.
#include "shared/base/mem.h"
#include "shared/formats/svg.h"
#include <stdlib.h>
#include <string.h>

struct names {
    const struct spy_tree *tree;
    uint32_t *files;     // by string of the profile -> its number, 0: none yet
    uint32_t *functions; // by function of the profile -> its number, 0: none yet
    uint32_t *nodes;     // by node -> its number; 0: folded
    uint32_t n_files, n;
};

static void names_done(struct names *n)
{
    free(n->files);
    free(n->functions);
    free(n->nodes);
}

static int names_new(const struct spy_tree *t, struct names *n)
{
    *n = (struct names){.tree = t};
    n->files = calloc(spy_profile_n_strings(t->profile) + 1u, sizeof *n->files);
    n->functions = calloc(spy_profile_n_functions(t->profile) + 1u, sizeof *n->functions);
    n->nodes = calloc(t->n, sizeof *n->nodes);
    return n->files && n->functions && n->nodes ? 0 : SPY_ERR_NOMEM;
}

static void put_base36(struct spy_buf *out, uint64_t n)
{
    char digits[16];
    size_t at = sizeof digits;
    do
        digits[--at] = "0123456789abcdefghijklmnopqrstuvwxyz"[n % 36];
    while (n /= 36);
    spy_buf_append(out, digits + at, sizeof digits - at);
}

// Depth first, like the nodes below: numbers stay small where they stand most often.
static void put_files(struct names *n, struct spy_buf *out)
{
    const struct spy_tree *t = n->tree;
    for (uint32_t i = spy_tree_next(t, 0); i; i = spy_tree_next(t, i)) {
        if (t->nodes[i].kind != SPY_NODE_FRAME)
            continue;
        uint32_t file = spy_profile_function_at(t->profile, t->nodes[i].a)->filename;
        if (n->files[file] || !*spy_profile_text(t->profile, file))
            continue;
        n->files[file] = ++n->n_files;
        _cleanup_buf_ struct spy_buf name = SPY_BUF_INIT(SPY_LABEL_MAX);
        spy_node_file(t, file, &name);
        spy_svg_put_text(out, spy_buf_str(&name), name.len);
        spy_buf_putc(out, '\n');
    }
}

static void put_name(const struct names *n, const struct spy_node *node, struct spy_buf *out)
{
    const struct spy_tree *t = n->tree;
    _cleanup_buf_ struct spy_buf name = SPY_BUF_INIT(SPY_LABEL_MAX);
    uint32_t file = 0;
    if (node->kind == SPY_NODE_FRAME) {
        file = n->files[spy_profile_function_at(t->profile, node->a)->filename];
        spy_node_name(t, node, &name);
    } else {
        spy_node_label(t, node, &name);
    }
    put_base36(out, spy_svg_colour(t, node));
    spy_buf_putc(out, ' ');
    put_base36(out, file);
    spy_buf_putc(out, ' ');
    spy_svg_put_text(out, spy_buf_str(&name), name.len);
    spy_buf_putc(out, '\n');
}

static void put_names(struct names *n, struct spy_buf *out)
{
    const struct spy_tree *t = n->tree;
    uint32_t i = 0;
    do {
        const struct spy_node *node = &t->nodes[i];
        uint32_t *known = node->kind == SPY_NODE_FRAME ? &n->functions[node->a] : &n->nodes[i];
        if (node->kind != SPY_NODE_FOLDED && !*known) {
            *known = ++n->n;
            put_name(n, node, out);
        }
        n->nodes[i] = node->kind == SPY_NODE_FOLDED ? 0 : *known;
    } while ((i = spy_tree_next(t, i)));
}

static uint64_t period_of(const struct spy_tree *t)
{
    for (uint32_t i = 0; t->by_time && i < spy_profile_n_series(t->profile); i++)
        if (spy_profile_series_get(t->profile, i)->period_ns)
            return spy_profile_series_get(t->profile, i)->period_ns;
    return t->by_time; // any but 0
}

static void put_node(const struct names *n, uint32_t i, uint32_t up, uint64_t period,
                     struct spy_buf *out)
{
    const struct spy_node *node = &n->tree->nodes[i];
    uint64_t usual;
    bool other = n->tree->by_time &&
                 (__builtin_mul_overflow(node->self, period, &usual) || usual != node->self_ns);
    uint64_t line = node->kind == SPY_NODE_FRAME    ? node->b
                    : node->kind == SPY_NODE_FOLDED ? node->a
                                                    : 0;
    uint64_t fields[] = {up, n->nodes[i], line, node->self, other ? node->self_ns : 0};
    size_t last = other ? SPY_COUNT(fields) : SPY_COUNT(fields) - 1;
    while (!other && last > 1 && !fields[last - 1])
        last--;
    for (size_t k = 0; k < last; k++) {
        if (k)
            spy_buf_putc(out, ',');
        if (fields[k] || k == 4)
            put_base36(out, fields[k]);
    }
}

static void put_tree(const struct names *n, uint64_t period, struct spy_buf *out)
{
    const struct spy_tree *t = n->tree;
    put_node(n, 0, 0, period, out);
    for (uint32_t before = 0, i; (i = spy_tree_next(t, before)) && !out->failed; before = i) {
        spy_buf_putc(out, ' ');
        put_node(n, i, t->nodes[before].depth + 1 - t->nodes[i].depth, period, out);
    }
}

int spy_svg_put_frames(const struct spy_tree *t, struct spy_buf *out)
{
    _cleanup_(names_done) struct names n;
    if (names_new(t, &n) < 0)
        return SPY_ERR_NOMEM;
    uint64_t period = period_of(t);
    spy_buf_puts(out, "<metadata id=\"frames\">");
    put_base36(out, period);
    spy_buf_putc(out, '\n');
    put_files(&n, out);
    spy_buf_putc(out, '\n');
    put_names(&n, out);
    spy_buf_putc(out, '\n');
    put_tree(&n, period, out);
    spy_buf_puts(out, "</metadata>\n");
    return out->failed;
}
