// One line for each stack: "outer;...;inner N". Readers of this format end a frame at ';', so a ';'
// in a name is printed as ':'. Samples without frames become one line.
#include "shared/base/mem.h"
#include "shared/formats/print.h"
#include <stdlib.h>
#include <string.h>

SPY_CLEANUP(free_path, uint32_t, free)

static int put_collapsed_frame(const struct spy_tree *t, uint32_t node, struct spy_buf *out)
{
    size_t from = out->len;
    spy_node_label(t, &t->nodes[node], out);
    for (size_t i = from; i < out->len; i++)
        if (out->data[i] == ';')
            out->data[i] = ':';
    return out->failed;
}

static int print_collapsed(const struct spy_profile *p, const struct spy_view *v,
                           struct spy_buf *out, struct spy_err *err)
{
    _cleanup_(spy_tree_free) struct spy_tree t = {0};
    struct spy_view all = *v;
    if (!all.max_nodes)
        all.max_nodes = UINT32_MAX; // folds only if asked to
    int r = spy_tree_build(p, &all, &t);
    if (r < 0)
        return spy_print_failed(r, err);
    _cleanup_(free_path) uint32_t *path = reallocarray(NULL, t.max_depth + 1u, sizeof *path);
    if (!path)
        return spy_print_failed(SPY_ERR_NOMEM, err);
    if (t.nodes[0].self)
        spy_buf_printf(out, "[no frames] %llu\n", (unsigned long long)t.nodes[0].self);
    for (uint32_t i = spy_tree_next(&t, 0); i && !out->failed; i = spy_tree_next(&t, i)) {
        uint32_t depth = t.nodes[i].depth;
        path[depth] = i;
        if (!t.nodes[i].self)
            continue;
        for (uint32_t d = 1; d <= depth; d++) {
            put_collapsed_frame(&t, path[d], out);
            spy_buf_putc(out, d < depth ? ';' : ' ');
        }
        spy_buf_printf(out, "%llu\n", (unsigned long long)t.nodes[i].self);
    }
    return out->failed ? spy_print_failed(out->failed, err) : 0;
}

const struct spy_format spy_format_collapsed = {
    .name = "collapsed",
    .alias = "raw",
    .media_type = "text/plain; charset=utf-8",
    .extension = "txt",
    .print = print_collapsed,
};
