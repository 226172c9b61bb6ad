// The tree of format json as tables of numbers, for the page: docs/formats.md has its form.
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include "shared/formats/print.h"
#include <stdlib.h>

enum { ROWS_MAX = 1 << 24 };

// What a node shows, once for all nodes that show it.
struct shown {
    uint32_t name, file; // numbers of texts
    uint32_t line, kind; // enum spy_frame_kind
};

// Texts are the profile's strings and, from n_strings on, labels made here.
struct compacting {
    const struct spy_tree *tree;
    uint32_t *texts; // by string of the profile -> its number plus one; 0: none yet
    uint32_t other;  // the same of what all folded nodes show
    uint32_t n_texts;
    struct spy_map by_shown;
    struct shown *shown;
    size_t n_shown, cap_shown;
    uint32_t *frames; // by node -> index in shown
};

static void compacting_done(struct compacting *c)
{
    free(c->texts);
    spy_map_free(&c->by_shown);
    free(c->shown);
    free(c->frames);
}

static void put_separator(bool first, struct spy_buf *out)
{
    if (!first)
        spy_buf_putc(out, ',');
}

static uint32_t put_text_once(struct compacting *c, uint32_t string, struct spy_buf *out)
{
    const struct spy_profile *p = c->tree->profile;
    if (!c->texts[string]) {
        put_separator(!c->n_texts, out);
        spy_put_json_string(out, spy_profile_text(p, string), spy_profile_text_len(p, string));
        c->texts[string] = ++c->n_texts;
    }
    return c->texts[string] - 1;
}

static struct shown show_node(struct compacting *c, const struct spy_node *n, struct spy_buf *out)
{
    const struct spy_profile *p = c->tree->profile;
    if (n->kind == SPY_NODE_FRAME) {
        const struct spy_function *f = spy_profile_function_at(p, n->function);
        uint32_t name = put_text_once(c, f->name, out);
        return (struct shown){name, put_text_once(c, f->filename, out), n->line, f->kind};
    }
    _cleanup_buf_ struct spy_buf label = SPY_BUF_INIT(SPY_LABEL_MAX);
    uint32_t nothing = put_text_once(c, 0, out);
    if (n->kind == SPY_NODE_FOLDED && c->other)
        return (struct shown){c->other - 1, nothing, 0, SPY_FRAME_MARKER};
    spy_node_label(c->tree, n, &label);
    put_separator(false, out);
    spy_put_json_string(out, spy_buf_str(&label), label.len);
    c->other = n->kind == SPY_NODE_FOLDED ? c->n_texts + 1 : c->other;
    return (struct shown){c->n_texts++, nothing, 0, SPY_FRAME_MARKER};
}

static int find_shown(struct compacting *c, const struct shown *like, uint32_t *ret)
{
    uint64_t hash = spy_hash_mix((uint64_t)like->name << 32 | like->file,
                                 (uint64_t)like->line << 8 | like->kind);
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&c->by_shown, hash, &at)) != SPY_MAP_NONE;) {
        const struct shown *s = &c->shown[i];
        if (s->name == like->name && s->file == like->file && s->line == like->line &&
            s->kind == like->kind) {
            *ret = i;
            return 0;
        }
    }
    int r = spy_grow(&c->shown, &c->cap_shown, c->n_shown + 1, sizeof *c->shown, ROWS_MAX);
    if (r == 0)
        r = spy_map_add(&c->by_shown, hash, (uint32_t)c->n_shown);
    if (r < 0)
        return r;
    c->shown[c->n_shown] = *like;
    *ret = (uint32_t)c->n_shown++;
    return 0;
}

// Writes "strings" on the way.
static int number_frames(struct compacting *c, struct spy_buf *out)
{
    const struct spy_tree *t = c->tree;
    uint32_t i = 0;
    spy_buf_puts(out, "\"strings\":[");
    do {
        struct shown like = show_node(c, &t->nodes[i], out);
        int r = find_shown(c, &like, &c->frames[i]);
        if (r < 0)
            return r;
    } while ((i = spy_tree_next(t, i)));
    spy_buf_putc(out, ']');
    return 0;
}

static void put_frame_tables(const struct compacting *c, struct spy_buf *out)
{
    static const struct {
        const char *name;
        size_t offset;
    } columns[] = {{"name", offsetof(struct shown, name)},
                   {"file", offsetof(struct shown, file)},
                   {"line", offsetof(struct shown, line)},
                   {"kind", offsetof(struct shown, kind)}};
    for (size_t k = 0; k < SPY_COUNT(columns); k++) {
        spy_buf_printf(out, "%s\"%s\":[", k ? "]," : ",\"frames\":{", columns[k].name);
        for (size_t i = 0; i < c->n_shown; i++) {
            put_separator(!i, out);
            spy_buf_number(out,
                           *(const uint32_t *)((const char *)&c->shown[i] + columns[k].offset));
        }
    }
    spy_buf_puts(out, "]}");
}

enum column { DEPTH, FRAME, SELF, NS, COLUMNS };

static uint64_t value_of(const struct compacting *c, uint32_t i, enum column which)
{
    const struct spy_node *n = &c->tree->nodes[i];
    return which == DEPTH   ? n->depth
           : which == FRAME ? c->frames[i]
           : which == SELF  ? n->self
                            : n->self_ns;
}

// The time of a sample, if that is the same in all nodes; else 0.
static uint64_t find_common_period(const struct spy_tree *t)
{
    uint64_t period = 0, product;
    uint32_t i = 0;
    do {
        const struct spy_node *n = &t->nodes[i];
        if (!period && n->self)
            period = n->self_ns / n->self;
        if (__builtin_mul_overflow(n->self, period, &product) || product != n->self_ns)
            return 0;
    } while ((i = spy_tree_next(t, i)));
    return period;
}

static void put_node_tables(const struct compacting *c, struct spy_buf *out)
{
    const struct spy_tree *t = c->tree;
    const char *names[COLUMNS] = {"depth", "frame", "self",
                                  t->view.compares ? "compared" : "self_ns"};
    uint64_t period = t->view.compares ? 0 : find_common_period(t);
    bool has_ns = t->view.compares || (t->by_time && !period);
    spy_buf_puts(out, ",\"nodes\":{\"period_ns\":");
    spy_buf_number(out, period);
    for (int k = 0; k < (has_ns ? COLUMNS : NS); k++) {
        uint32_t i = 0;
        spy_buf_printf(out, ",\"%s\":[", names[k]);
        do {
            put_separator(!i, out);
            spy_buf_number(out, value_of(c, i, (enum column)k));
        } while ((i = spy_tree_next(t, i)) && !out->failed);
        spy_buf_putc(out, ']');
    }
    spy_buf_putc(out, '}');
}

int spy_put_compact_tree(const struct spy_tree *t, struct spy_buf *out)
{
    _cleanup_(compacting_done) struct compacting c = {
        .tree = t,
        .texts = calloc(spy_profile_n_strings(t->profile) + 1u, sizeof *c.texts),
        .frames = calloc(t->n, sizeof *c.frames)};
    if (!c.texts || !c.frames)
        return SPY_ERR_NOMEM;
    int r = number_frames(&c, out);
    if (r < 0)
        return r;
    put_frame_tables(&c, out);
    put_node_tables(&c, out);
    return out->failed;
}

static int print_compact(const struct spy_profile *p, const struct spy_view *v, struct spy_buf *out,
                         struct spy_err *err)
{
    _cleanup_(spy_tree_free) struct spy_tree t = {0};
    int r = spy_tree_build(p, v, &t);
    if (r < 0)
        return spy_print_failed(r, err);
    spy_buf_puts(out, "{\"total\":");
    spy_buf_number(out, t.nodes[0].total);
    spy_buf_puts(out, ",\"total_ns\":");
    spy_buf_number(out, t.nodes[0].total_ns);
    spy_buf_putc(out, ',');
    r = spy_put_json_meta(p, v, out);
    spy_buf_putc(out, ',');
    if (r == 0)
        r = spy_put_compact_tree(&t, out);
    spy_buf_puts(out, "}\n");
    return r < 0 || out->failed ? spy_print_failed(r < 0 ? r : out->failed, err) : 0;
}

const struct spy_format spy_format_compact = {
    .name = "compact",
    .media_type = "application/json",
    .extension = "json",
    .print = print_compact,
};
