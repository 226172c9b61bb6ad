// All frames of a flamegraph as text for its script, which draws the part that is zoomed to:
//
//     PERIOD                       ns for each sample; 0: widths are counts; -CUTOFF: two profiles
//                                  are compared, and CUTOFF, decimal, is that of z (compare.h)
//     FILE ...                     file names as they are shown, a line each
//                                  an empty line
//     COLOUR FILE NAME ...         functions and other named nodes: the number of the colour, the
//                                  number of the file (from 1; 0: none) and the name, a line each
//                                  an empty line
//     UP,WHAT,LINE,SELF,NS ...     the tree in depth-first order, separated by spaces: how many
//                                  steps up from the previous node the parent is, the number of
//                                  the name above (from 1; 0: "(other)"), the line, the
//                                  node's own samples, and their ns unless they are SELF * PERIOD;
//                                  where two are compared, those of the base and of the other
//
// Numbers are in base 36; trailing zeros and their commas are left out. A node's weight is the sum
// of its own and its children's; its position follows from the widths before it.
#include "shared/base/mem.h"
#include "shared/formats/svg.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct names {
    const struct spy_tree *tree;
    uint32_t *files;     // by string of the profile -> its number, 0: none yet
    uint32_t *functions; // by function of the profile -> its number, 0: none yet
    uint32_t *nodes;     // by node -> its number; 0: folded
    uint32_t n_files, n;
};

static void free_names(struct names *n)
{
    free(n->files);
    free(n->functions);
    free(n->nodes);
}

static int allocate_names(const struct spy_tree *t, struct names *n)
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

// Depth first, like the nodes below, so that frequent files tend to have small numbers.
static void put_file_lines(struct names *n, struct spy_buf *out)
{
    const struct spy_tree *t = n->tree;
    for (uint32_t i = spy_tree_next(t, 0); i; i = spy_tree_next(t, i)) {
        if (t->nodes[i].kind != SPY_NODE_FRAME)
            continue;
        uint32_t file = spy_profile_function_at(t->profile, t->nodes[i].function)->filename;
        if (n->files[file] || !*spy_profile_text(t->profile, file))
            continue;
        n->files[file] = ++n->n_files;
        _cleanup_buf_ struct spy_buf name = SPY_BUF_INIT(SPY_LABEL_MAX);
        spy_node_file(t, file, &name);
        spy_svg_put_text(out, spy_buf_str(&name), name.len);
        spy_buf_putc(out, '\n');
    }
}

static void put_name_line(const struct names *n, const struct spy_node *node, struct spy_buf *out)
{
    const struct spy_tree *t = n->tree;
    _cleanup_buf_ struct spy_buf name = SPY_BUF_INIT(SPY_LABEL_MAX);
    uint32_t file = 0;
    if (node->kind == SPY_NODE_FRAME) {
        file = n->files[spy_profile_function_at(t->profile, node->function)->filename];
        spy_node_name(t, node, &name);
    } else {
        spy_node_label(t, node, &name);
    }
    put_base36(out, t->view.compares ? 0 : spy_svg_colour(t, node));
    spy_buf_putc(out, ' ');
    put_base36(out, file);
    spy_buf_putc(out, ' ');
    spy_svg_put_text(out, spy_buf_str(&name), name.len);
    spy_buf_putc(out, '\n');
}

static void put_name_lines(struct names *n, struct spy_buf *out)
{
    const struct spy_tree *t = n->tree;
    uint32_t i = 0;
    do {
        const struct spy_node *node = &t->nodes[i];
        uint32_t *known =
            node->kind == SPY_NODE_FRAME ? &n->functions[node->function] : &n->nodes[i];
        if (node->kind != SPY_NODE_FOLDED && !*known) {
            *known = ++n->n;
            put_name_line(n, node, out);
        }
        n->nodes[i] = node->kind == SPY_NODE_FOLDED ? 0 : *known;
    } while ((i = spy_tree_next(t, i)));
}

static uint64_t find_sample_period(const struct spy_tree *t)
{
    for (uint32_t i = 0; t->by_time && i < spy_profile_n_series(t->profile); i++)
        if (spy_profile_series_get(t->profile, i)->period_ns)
            return spy_profile_series_get(t->profile, i)->period_ns;
    return t->by_time; // by time, any number but 0
}

static void put_node_fields(const struct names *n, uint32_t i, uint32_t up, uint64_t period,
                            struct spy_buf *out)
{
    const struct spy_node *node = &n->tree->nodes[i];
    uint64_t usual;
    bool other = n->tree->view.compares
                     ? node->self_ns > 0
                     : n->tree->by_time && (__builtin_mul_overflow(node->self, period, &usual) ||
                                            usual != node->self_ns);
    uint64_t line = node->kind == SPY_NODE_FRAME ? node->line : 0;
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

static void put_tree_fields(const struct names *n, uint64_t period, struct spy_buf *out)
{
    const struct spy_tree *t = n->tree;
    put_node_fields(n, 0, 0, period, out);
    for (uint32_t before = 0, i; (i = spy_tree_next(t, before)) && !out->failed; before = i) {
        spy_buf_putc(out, ' ');
        put_node_fields(n, i, t->nodes[before].depth + 1 - t->nodes[i].depth, period, out);
    }
}

int spy_svg_put_frames(const struct spy_tree *t, struct spy_buf *out)
{
    _cleanup_(free_names) struct names n;
    if (allocate_names(t, &n) < 0)
        return SPY_ERR_NOMEM;
    uint64_t period = find_sample_period(t);
    spy_buf_puts(out, "<metadata id=\"frames\">");
    if (t->view.compares)
        spy_buf_printf(out, "-%.4f", isfinite(t->cutoff) ? t->cutoff : 1e9);
    else
        put_base36(out, period);
    spy_buf_putc(out, '\n');
    put_file_lines(&n, out);
    spy_buf_putc(out, '\n');
    put_name_lines(&n, out);
    spy_buf_putc(out, '\n');
    put_tree_fields(&n, period, out);
    spy_buf_puts(out, "</metadata>\n");
    return out->failed;
}
