// The picture for programs that only draw SVG, and for browsers with scripts off. The script
// removes it and draws its own.
//
// A box is drawn if it can be seen: at least a pixel wide in a window of STEPS pixels, or the first
// of its row in that pixel. The widest boxes have a tooltip and a name; the rest are paths, one for
// each colour.
#include "shared/base/mem.h"
#include "shared/formats/svg.h"
#include <stdlib.h>

enum {
    STEPS = 2000,
    UNITS = 10000, // the full width in paths: whole numbers are short
    TITLED = 1000, // how many frames are elements of their own
};

enum how { NOT_DRAWN, AS_PATH, AS_ELEMENT };

struct drawing {
    const struct spy_tree *tree;
    uint32_t top, row;
    double *left; // by node, as shares of the whole
    uint8_t *how, *colours;
};

static void free_drawing(struct drawing *d)
{
    free(d->left);
    free(d->how);
    free(d->colours);
}

static double share_of_whole(const struct drawing *d, uint32_t i)
{
    return (double)spy_node_weight(d->tree, &d->tree->nodes[i]) /
           (double)spy_node_weight(d->tree, &d->tree->nodes[0]);
}

static int allocate_drawing(const struct spy_tree *t, uint32_t top, uint32_t row, struct drawing *d)
{
    *d = (struct drawing){.tree = t, .top = top, .row = row};
    d->left = calloc(t->n, sizeof *d->left);
    d->how = calloc(t->n, sizeof *d->how);
    d->colours = calloc(t->n, sizeof *d->colours);
    return d->left && d->how && d->colours ? 0 : SPY_ERR_NOMEM;
}

// A child begins where its elder sibling ends, the first where its parent begins.
static int choose_drawn(struct drawing *d)
{
    const struct spy_tree *t = d->tree;
    const double step = 1.0 / STEPS;
    _cleanup_free_ double *taken = calloc(t->max_depth + 1u, sizeof *taken); // of each row, so far
    if (!taken)
        return SPY_ERR_NOMEM;
    uint32_t i = 0;
    do {
        const struct spy_node *n = &t->nodes[i];
        double width = share_of_whole(d, i);
        if (n->first_child)
            d->left[n->first_child] = d->left[i];
        if (n->next)
            d->left[n->next] = d->left[i] + width;
        if (width < step && d->left[i] < taken[n->depth])
            continue;
        taken[n->depth] = d->left[i] + (width < step ? step : width);
        d->how[i] = AS_PATH;
        d->colours[i] = (uint8_t)spy_svg_colour(t, n);
    } while ((i = spy_tree_next(t, i)));
    return 0;
}

static int compare_shares(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static int choose_titled(struct drawing *d)
{
    size_t n = 0;
    double least = 0;
    _cleanup_free_ double *shares = calloc(d->tree->n, sizeof *shares);
    if (!shares)
        return SPY_ERR_NOMEM;
    for (uint32_t i = 0; i < d->tree->n; i++)
        if (d->how[i])
            shares[n++] = share_of_whole(d, i);
    if (n > TITLED) {
        qsort(shares, n, sizeof *shares, compare_shares);
        least = shares[TITLED];
    }
    for (uint32_t i = 0; i < d->tree->n; i++)
        if (d->how[i] && share_of_whole(d, i) > least)
            d->how[i] = AS_ELEMENT;
    return 0;
}

static void put_change(const struct spy_tree *t, const struct spy_node *n, struct spy_buf *out)
{
    const struct spy_node *all = &t->nodes[0];
    double base = all->total ? 100.0 * (double)n->total / (double)all->total : 0;
    double now = all->total_ns ? 100.0 * (double)n->total_ns / (double)all->total_ns : 0;
    spy_buf_printf(out, "\n%.2f %%, base %.2f %%: %+.2f points\n%llu samples, base %llu", now, base,
                   now - base, (unsigned long long)n->total_ns, (unsigned long long)n->total);
}

static void put_tooltip(const struct drawing *d, const struct spy_node *n,
                        const struct spy_buf *label, struct spy_buf *out)
{
    const struct spy_tree *t = d->tree;
    double whole = (double)spy_node_weight(t, &t->nodes[0]);
    spy_buf_puts(out, "<title>");
    spy_svg_put_text(out, spy_buf_str(label), label->len);
    if (t->view.compares) {
        put_change(t, n, out);
        spy_buf_puts(out, "</title>");
        return;
    }
    spy_buf_printf(out, "\n%llu samples, %.2f %%", (unsigned long long)n->total,
                   100.0 * (double)spy_node_weight(t, n) / whole);
    if (t->by_time)
        spy_buf_printf(out, ", %.2f s", (double)n->total_ns / 1e9);
    if (n->self && n->self != n->total)
        spy_buf_printf(out, "\nof its own %llu samples, %.2f %%", (unsigned long long)n->self,
                       100.0 * (double)(t->by_time ? n->self_ns : n->self) / whole);
    spy_buf_puts(out, "</title>");
}

static void put_box_element(const struct drawing *d, uint32_t i, struct spy_buf *out)
{
    const struct spy_node *n = &d->tree->nodes[i];
    _cleanup_buf_ struct spy_buf label = SPY_BUF_INIT(SPY_LABEL_MAX);
    spy_node_label(d->tree, n, &label);
    spy_buf_printf(out,
                   "<svg class=\"f c%u\" x=\"%.3f%%\" y=\"%u\" width=\"%.3f%%\" height=\"%u\">",
                   d->colours[i], 100.0 * d->left[i], d->top + n->depth * d->row,
                   100.0 * share_of_whole(d, i), d->row);
    put_tooltip(d, n, &label, out);
    spy_buf_puts(out, "<rect/>"); // its size is in the style
    if (share_of_whole(d, i) > 0.01) {
        spy_buf_puts(out, "<text x=\"4\" y=\"13\">");
        spy_svg_put_text(out, spy_buf_str(&label), label.len);
        spy_buf_puts(out, "</text>");
    }
    spy_buf_puts(out, "</svg>\n");
}

static unsigned round_to_units(double of_whole)
{
    return (unsigned)(of_whole * UNITS + 0.5);
}

static void put_boxes_path(const struct drawing *d, unsigned colour, struct spy_buf *out)
{
    bool begun = false;
    for (uint32_t i = 0; i < d->tree->n; i++) {
        if (d->how[i] != AS_PATH || d->colours[i] != colour)
            continue;
        unsigned x = round_to_units(d->left[i]),
                 w = round_to_units(d->left[i] + share_of_whole(d, i)) - x;
        if (!begun)
            spy_buf_printf(out, "<path class=\"c%u\" d=\"", colour);
        begun = true;
        if (w < UNITS / STEPS)
            w = UNITS / STEPS;
        spy_buf_printf(out, "M%u %uh%uv%uh-%uz", x, d->top + d->tree->nodes[i].depth * d->row, w,
                       d->row - 1, w);
    }
    if (begun)
        spy_buf_puts(out, "\"/>\n");
}

static void put_boxes(const struct drawing *d, uint32_t height, struct spy_buf *out)
{
    bool paths = false;
    for (uint32_t i = 0; i < d->tree->n; i++)
        paths = paths || d->how[i] == AS_PATH;
    if (paths) {
        spy_buf_printf(out,
                       "<svg width=\"100%%\" height=\"%u\" viewBox=\"0 0 %d %u\" "
                       "preserveAspectRatio=\"none\">\n",
                       height, UNITS, height);
        for (unsigned c = 0; c < SPY_SVG_COLOURS; c++)
            put_boxes_path(d, c, out);
        spy_buf_puts(out, "</svg>\n");
    }
    for (uint32_t i = 0; i < d->tree->n; i++)
        if (d->how[i] == AS_ELEMENT)
            put_box_element(d, i, out);
}

int spy_svg_put_drawing(const struct spy_tree *t, uint32_t top, uint32_t row, struct spy_buf *out)
{
    _cleanup_(free_drawing) struct drawing d;
    uint32_t height = top + (t->max_depth + 1) * row;
    int r = allocate_drawing(t, top, row, &d);
    if (r == 0)
        r = choose_drawn(&d);
    if (r == 0)
        r = choose_titled(&d);
    if (r < 0)
        return r;
    spy_buf_printf(out, "<svg id=\"graph\" x=\"1%%\" width=\"98%%\" height=\"%u\">\n", height);
    put_boxes(&d, height, out);
    spy_buf_puts(out, "</svg>\n");
    return out->failed;
}
