#include "shared/formats/tree.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include "shared/formats/process_names.h"
#include <stdlib.h>
#include <string.h>

enum {
    NODES_MAX = 1 << 23,
    NODE_BYTES = 192, // with its path and maps, while they grow
    DEFAULT_MAX_NODES = 20000,
    NAME_MAX_SHOWN = 1024,
    ANCESTORS_MAX = 32,
    SIDE_BITS = 44 // of a side's weight
};

struct builder {
    struct spy_tree *tree;
    size_t max;             // nodes
    struct spy_map by_key;  // of (parent, kind, id) -> node
    struct spy_map by_path; // of (base node, stack) -> node: stacks share their outer parts
    struct path {
        uint32_t base, stack, node;
    } * paths;
    size_t n_paths, cap_paths;
    uint32_t *todo; // stacks on the way out
    size_t cap_todo;
    bool processes;    // each has a frame
    uint32_t *parents; // of each series: that of its parent process, or itself
};

// The child that has the parent, kind and id of `like`; added if there is none.
static int add_child(struct builder *b, const struct spy_node *like, uint32_t *ret)
{
    struct spy_tree *t = b->tree;
    uint64_t hash = spy_hash_mix((uint64_t)like->parent << 8 | like->kind, like->id);
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&b->by_key, hash, &at)) != SPY_MAP_NONE;) {
        const struct spy_node *n = &t->nodes[i];
        if (n->parent == like->parent && n->kind == like->kind && n->id == like->id) {
            *ret = i;
            return 0;
        }
    }
    int r = spy_grow(&t->nodes, &t->cap, t->n + 1, sizeof *t->nodes, b->max);
    if (r == 0)
        r = spy_map_add(&b->by_key, hash, (uint32_t)t->n);
    if (r < 0)
        return r;
    struct spy_node *up = &t->nodes[like->parent], *n = &t->nodes[t->n];
    *n = *like;
    n->depth = up->depth + 1;
    n->next = up->first_child;
    up->first_child = (uint32_t)t->n;
    *ret = (uint32_t)t->n++;
    return 0;
}

static int add_frame(struct builder *b, uint32_t parent, uint32_t frame, uint32_t *ret)
{
    const struct spy_view *v = &b->tree->view;
    const struct spy_frame *f = spy_profile_frame_at(b->tree->profile, frame);
    const struct spy_function *fn = spy_profile_function_at(b->tree->profile, f->function);
    if (v->no_native && fn->kind == SPY_FRAME_NATIVE) {
        *ret = parent;
        return 0;
    }
    uint32_t line = spy_view_line(b->tree->profile, v, f);
    const struct spy_node like = {
        .parent = parent, .kind = SPY_NODE_FRAME, .function = f->function, .line = line};
    return add_child(b, &like, ret);
}

static uint32_t find_known_path(const struct builder *b, uint64_t hash, uint32_t base,
                                uint32_t stack)
{
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&b->by_path, hash, &at)) != SPY_MAP_NONE;)
        if (b->paths[i].base == base && b->paths[i].stack == stack)
            return b->paths[i].node;
    return SPY_MAP_NONE;
}

static int remember_path(struct builder *b, uint64_t hash, uint32_t base, uint32_t stack,
                         uint32_t node)
{
    int r = spy_grow(&b->paths, &b->cap_paths, b->n_paths + 1, sizeof *b->paths, b->max);
    if (r == 0)
        r = spy_map_add(&b->by_path, hash, (uint32_t)b->n_paths);
    if (r == 0)
        b->paths[b->n_paths++] = (struct path){base, stack, node};
    return r;
}

// The node of a whole stack under base: outwards to a known part, then back inwards.
static int add_stack_nodes(struct builder *b, uint32_t base, uint32_t stack, uint32_t *ret)
{
    const struct spy_profile *p = b->tree->profile;
    size_t n = 0;
    uint32_t node = base;
    for (; stack; stack = spy_profile_stack_at(p, stack)->parent) {
        uint32_t known = find_known_path(b, spy_hash_mix(base, stack), base, stack);
        if (known != SPY_MAP_NONE) {
            node = known;
            break;
        }
        int r = spy_grow(&b->todo, &b->cap_todo, n + 1, sizeof *b->todo, NODES_MAX);
        if (r < 0)
            return r;
        b->todo[n++] = stack;
    }
    while (n) {
        uint32_t s = b->todo[--n];
        int r = add_frame(b, node, spy_profile_stack_at(p, s)->frame, &node);
        if (r == 0)
            r = remember_path(b, spy_hash_mix(base, s), base, s, node);
        if (r < 0)
            return r;
    }
    *ret = node;
    return 0;
}

static bool show_processes(const struct spy_profile *p, const struct spy_view *v)
{
    if (v->processes != SPY_PROCESSES_AUTO)
        return v->processes == SPY_PROCESSES_YES;
    uint32_t first = UINT32_MAX;
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++) {
        const struct spy_sample *s = spy_profile_sample_at(p, i);
        if (!spy_view_has(v, s))
            continue;
        if (first != UINT32_MAX && s->series != first)
            return true;
        first = s->series;
    }
    return false;
}

static uint32_t find_parent_series(const struct spy_profile *p, uint32_t series)
{
    const char *parent = spy_profile_series_label(p, series, SPY_LABEL_PARENT_PID);
    for (uint32_t i = spy_profile_n_series(p); parent && i-- > 0;) { // after an exec: the latest
        const char *pid = spy_profile_series_label(p, i, SPY_LABEL_PID);
        if (i != series && pid && !strcmp(pid, parent))
            return i;
    }
    return series;
}

static int find_parents(struct builder *b)
{
    const struct spy_profile *p = b->tree->profile;
    uint32_t n = spy_profile_n_series(p);
    b->parents = reallocarray(NULL, n + 1u, sizeof *b->parents);
    if (!b->parents)
        return SPY_ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++)
        b->parents[i] = b->tree->view.ancestors ? find_parent_series(p, i) : i;
    return 0;
}

// Adds the frames of a process and its ancestors, the outermost first. Process ids that were used
// again may make a circle of parents; ANCESTORS_MAX ends it.
static int add_process_frames(struct builder *b, uint32_t series, uint32_t *node)
{
    uint32_t line[ANCESTORS_MAX] = {series}, n = 1;
    for (; n < ANCESTORS_MAX && b->parents[series] != series; n++)
        line[n] = series = b->parents[series];
    int r = 0;
    while (n-- > 0 && r == 0) {
        const struct spy_node like = {.parent = *node, .kind = SPY_NODE_PROCESS, .series = line[n]};
        r = add_child(b, &like, node);
    }
    return r;
}

static int add_outer_frames(struct builder *b, const struct spy_sample *s, uint32_t *node)
{
    int r = b->processes ? add_process_frames(b, s->series, node) : 0;
    if (r < 0 || !b->tree->view.threads)
        return r;
    struct spy_node like = {
        .parent = *node, .kind = SPY_NODE_THREAD, .series = s->series, .thread = s->thread};
    return add_child(b, &like, node);
}

static int add_all_samples(struct builder *b)
{
    const struct spy_profile *p = b->tree->profile;
    const struct spy_view *v = &b->tree->view;
    int x = find_parents(b);
    if (x < 0)
        return x;
    b->processes = show_processes(p, v);
    x = b->processes ? spy_process_names_new(p, &b->tree->names) : 0;
    if (x < 0)
        return x;
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++) {
        const struct spy_sample *s = spy_profile_sample_at(p, i);
        uint32_t node = 0;
        int r;
        if (spy_stop_is_set(v->stop))
            return SPY_ERR_GONE;
        if (!spy_view_has(v, s))
            continue;
        r = add_outer_frames(b, s, &node);
        if (r == 0)
            r = add_stack_nodes(b, node, s->stack, &node);
        if (r == 0 && v->states) {
            const struct spy_node like = {
                .parent = node, .kind = SPY_NODE_STATE, .state = s->state};
            r = add_child(b, &like, &node);
        }
        if (r < 0)
            return r;
        struct spy_node *n = &b->tree->nodes[node];
        n->self = spy_add_sat(n->self, s->count);
        n->self_ns = spy_add_sat(n->self_ns, s->ns);
    }
    return 0;
}

// Parents come before their children in the array, so one pass from the end sums all totals.
static void sum_totals(struct spy_tree *t)
{
    for (size_t i = t->n; i-- > 0;) {
        struct spy_node *n = &t->nodes[i];
        struct spy_node *up = &t->nodes[n->parent];
        n->total = spy_add_sat(n->total, n->self);
        n->total_ns = spy_add_sat(n->total_ns, n->self_ns);
        if (i) {
            up->total = spy_add_sat(up->total, n->total);
            up->total_ns = spy_add_sat(up->total_ns, n->total_ns);
        }
    }
    t->by_time = !t->view.compares && t->nodes[0].total_ns > 0;
    const uint64_t sides[2] = {t->nodes[0].total, t->nodes[0].total_ns};
    for (int i = 0; i < 2; i++)
        t->scales[i] = sides[i] ? (double)(1ull << SIDE_BITS) / (double)sides[i] : 0;
}

static int compare_weights(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

// The max-th weight, and how many nodes of just that weight there is room for.
static int find_cutoff(const struct spy_tree *t, size_t max, uint64_t *ret, size_t *ret_ties)
{
    _cleanup_free_ uint64_t *w = reallocarray(NULL, t->n, sizeof *w);
    if (!w)
        return SPY_ERR_NOMEM;
    for (size_t i = 0; i < t->n; i++)
        w[i] = spy_node_weight(t, &t->nodes[i]);
    qsort(w, t->n, sizeof *w, compare_weights);
    *ret = w[max - 1];
    *ret_ties = 0;
    for (size_t i = max; i-- > 0 && w[i] == *ret;)
        ++*ret_ties;
    return 0;
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

static int fold_nodes(struct spy_tree *t)
{
    size_t n = t->n, max = t->view.max_nodes ? t->view.max_nodes : DEFAULT_MAX_NODES, ties;
    uint64_t least;
    if (n <= max)
        return 0;
    _cleanup_free_ bool *kept = calloc(n, sizeof *kept);
    int r = kept ? find_cutoff(t, max, &least, &ties) : SPY_ERR_NOMEM;
    if (r < 0)
        return r;
    choose_kept(t, least, ties, kept);
    for (uint32_t i = 0; i < n; i++) {
        struct spy_node rest = {.parent = i, .kind = SPY_NODE_FOLDED};
        if (!kept[i])
            continue;
        split_children(t, i, kept, &rest);
        if (!rest.folded)
            continue;
        r = spy_grow(&t->nodes, &t->cap, t->n + 1, sizeof *t->nodes, 2 * NODES_MAX);
        if (r < 0)
            return r;
        rest.next = t->nodes[i].first_child;
        t->nodes[t->n] = rest;
        t->nodes[i].first_child = (uint32_t)t->n++;
    }
    return 0;
}

struct sorting {
    uint32_t *list; // the children of one node
    size_t cap;
};

static int compare_frame_nodes(const struct spy_tree *t, const struct spy_node *a,
                               const struct spy_node *b)
{
    const struct spy_profile *p = t->profile;
    const struct spy_function *f = spy_profile_function_at(p, a->function),
                              *g = spy_profile_function_at(p, b->function);
    int c =
        f->name == g->name ? 0 : strcmp(spy_profile_text(p, f->name), spy_profile_text(p, g->name));
    if (!c && f->filename != g->filename)
        c = strcmp(spy_profile_text(p, f->filename), spy_profile_text(p, g->filename));
    if (!c)
        c = a->line < b->line ? -1 : a->line > b->line;
    return c ? c : a->function < b->function ? -1 : a->function > b->function;
}

static int compare_labels(const struct spy_tree *t, const struct spy_node *a,
                          const struct spy_node *b)
{
    _cleanup_buf_ struct spy_buf x = SPY_BUF_INIT(SPY_LABEL_MAX), y = SPY_BUF_INIT(SPY_LABEL_MAX);
    spy_node_label(t, a, &x);
    spy_node_label(t, b, &y);
    int c = strcmp(spy_buf_str(&x), spy_buf_str(&y));
    return c ? c : a < b ? -1 : 1;
}

// Frames by name, file and line, before them what was folded, the processes and the threads.
static int compare_siblings(const void *x, const void *y, void *tree)
{
    const struct spy_tree *t = tree;
    const struct spy_node *a = &t->nodes[*(const uint32_t *)x],
                          *b = &t->nodes[*(const uint32_t *)y];
    if (a->kind == SPY_NODE_FRAME && b->kind == SPY_NODE_FRAME)
        return compare_frame_nodes(t, a, b);
    return a->kind != b->kind ? (a->kind > b->kind ? -1 : 1) : compare_labels(t, a, b);
}

static int sort_children(struct spy_tree *t, uint32_t node, struct sorting *s)
{
    size_t n = 0;
    for (uint32_t c = t->nodes[node].first_child; c; c = t->nodes[c].next) {
        int r = spy_grow(&s->list, &s->cap, n + 1, sizeof *s->list, 2 * NODES_MAX);
        if (r < 0)
            return r;
        s->list[n++] = c;
    }
    if (n < 2)
        return 0;
    qsort_r(s->list, n, sizeof *s->list, compare_siblings, t);
    t->nodes[node].first_child = s->list[0];
    for (size_t k = 0; k < n; k++)
        t->nodes[s->list[k]].next = k + 1 < n ? s->list[k + 1] : 0;
    return 0;
}

static int sort_tree(struct spy_tree *t)
{
    struct sorting s = {0};
    int r = 0;
    uint32_t i = 0;
    do {
        r = spy_stop_is_set(t->view.stop) ? SPY_ERR_GONE : sort_children(t, i, &s);
        if (t->nodes[i].depth > t->max_depth)
            t->max_depth = t->nodes[i].depth;
    } while (r == 0 && (i = spy_tree_next(t, i)));
    free(s.list);
    return r;
}

int spy_tree_build(const struct spy_profile *p, const struct spy_view *v, struct spy_tree *ret)
{
    struct spy_tree t = {.profile = p, .view = *v};
    struct builder b = {.tree = &t, .max = v->memory ? v->memory / NODE_BYTES + 1 : NODES_MAX};
    int r = spy_grow(&t.nodes, &t.cap, 1, sizeof *t.nodes, NODES_MAX);
    if (r == 0)
        r = spy_map_add(&b.by_key, 0, 0);
    if (r == 0) {
        t.nodes[t.n++] = (struct spy_node){.kind = SPY_NODE_ROOT};
        r = add_all_samples(&b);
    }
    if (r == 0) {
        sum_totals(&t);
        r = fold_nodes(&t);
    }
    if (r == 0)
        r = sort_tree(&t);
    spy_map_free(&b.by_key);
    spy_map_free(&b.by_path);
    free(b.paths);
    free(b.todo);
    free(b.parents);
    if (r < 0)
        spy_tree_free(&t);
    else
        *ret = t;
    return r;
}

void spy_tree_free(struct spy_tree *t)
{
    free(t->nodes);
    t->nodes = NULL;
    spy_process_names_free(t->names);
    t->names = NULL;
}

uint32_t spy_tree_next(const struct spy_tree *t, uint32_t node)
{
    if (t->nodes[node].first_child)
        return t->nodes[node].first_child;
    while (node && !t->nodes[node].next)
        node = t->nodes[node].parent;
    return node ? t->nodes[node].next : 0;
}

static int put_shown(struct spy_buf *out, const char *text)
{
    return spy_buf_text(out, text, strlen(text), NAME_MAX_SHOWN);
}

int spy_node_name(const struct spy_tree *t, const struct spy_node *n, struct spy_buf *out)
{
    uint32_t name = spy_profile_function_at(t->profile, n->function)->name;
    return put_shown(out, spy_profile_text(t->profile, name));
}

int spy_node_file(const struct spy_tree *t, uint32_t filename, struct spy_buf *out)
{
    const struct spy_view *v = &t->view;
    const char *file = spy_profile_text(t->profile, filename);
    if (v->full_filenames)
        return put_shown(out, file);
    const char *known = v->shorten ? v->shorten(v->shorten_context, file) : NULL;
    return put_shown(out, known ? known : spy_short_filename(file));
}

static int put_frame_label(const struct spy_tree *t, const struct spy_node *n, struct spy_buf *out)
{
    uint32_t filename = spy_profile_function_at(t->profile, n->function)->filename;
    spy_node_name(t, n, out);
    if (!*spy_profile_text(t->profile, filename))
        return out->failed;
    spy_buf_puts(out, " (");
    spy_node_file(t, filename, out);
    if (n->line)
        spy_buf_printf(out, ":%u", n->line);
    return spy_buf_putc(out, ')');
}

static int put_state_label(uint32_t state, struct spy_buf *out)
{
    static const struct {
        uint32_t bit;
        const char *text;
    } parts[] = {{SPY_STATE_GIL_HOLDS, ", holds the GIL"},
                 {SPY_STATE_GIL_WAITS, ", waits for the GIL"},
                 {SPY_STATE_GC, ", collects garbage"}};
    spy_buf_printf(out, "[%s", spy_activity_names[spy_state_activity(state)]);
    for (size_t i = 0; i < SPY_COUNT(parts); i++)
        if (state & parts[i].bit)
            spy_buf_puts(out, parts[i].text);
    return spy_buf_putc(out, ']');
}

int spy_node_label(const struct spy_tree *t, const struct spy_node *n, struct spy_buf *out)
{
    const struct spy_thread *th;
    switch (n->kind) {
    case SPY_NODE_FRAME:
        return put_frame_label(t, n, out);
    case SPY_NODE_PROCESS:
        return spy_process_names_put(t->names, n->series, out);
    case SPY_NODE_THREAD:
        th = spy_profile_thread_at(t->profile, n->thread);
        spy_buf_printf(out, "thread (%llu): ", (unsigned long long)th->tid);
        return put_shown(out, spy_profile_text(t->profile, th->name));
    case SPY_NODE_STATE:
        return put_state_label(n->state, out);
    case SPY_NODE_FOLDED:
        return spy_buf_printf(out, "(%u smaller)", n->folded);
    default:
        return spy_buf_puts(out, "all");
    }
}
