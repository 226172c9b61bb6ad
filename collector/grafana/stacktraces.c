// stacktraces.c - SelectMergeStacktraces: the merged stacks of a selection as a flame graph's levels.
#include "collector/grafana/levels.h"
#include "shared/base/mem.h"
#include <stdlib.h>

static int64_t n_stacktraces;
enum { FLAME_GRAPH = 1 };

static int check_asked(const Spy__Querier__SelectMergeStacktracesRequest *asked,
                       uint32_t *ret_nodes, struct spy_err *err)
{
    if (asked->format > FLAME_GRAPH || asked->stack_trace_selector.len ||
        asked->n_profile_id_selector)
        return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0,
                           "only flame graphs of whole selections are made: no other format, no "
                           "stack_trace_selector, no profile_id_selector");
    if (asked->max_nodes < 0)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "max_nodes is negative");
    *ret_nodes = !asked->max_nodes                         ? SPY_LEVELS_NODES
                 : asked->max_nodes < SPY_LEVELS_NODES_MAX ? (uint32_t)asked->max_nodes
                                                           : SPY_LEVELS_NODES_MAX;
    return 0;
}

static int write_stacktraces(const struct spy_querier_call *c, struct spy_selection *s,
                             uint32_t max_nodes, struct spy_buf *out, struct spy_err *err)
{
    _cleanup_profile_ struct spy_profile *p = NULL;
    _cleanup_free_ bool *has = NULL;
    Spy__Querier__FlameGraph graph = SPY__QUERIER__FLAME_GRAPH__INIT;
    Spy__Querier__SelectMergeStacktracesResponse answer =
        SPY__QUERIER__SELECT_MERGE_STACKTRACES_RESPONSE__INIT;
    int r = spy_selection_load(c, s, &p, &has, err);
    if (r < 0)
        return r;
    size_t held = spy_profile_memory(p);
    _cleanup_arena_ struct spy_arena arena =
        SPY_ARENA_INIT(held < c->memory / 8 * 5 ? c->memory - held : c->memory / 8 * 3);
    r = spy_levels_make(p, has, &s->type, max_nodes, &arena, c->stop, &graph, err);
    if (r < 0)
        return r;
    answer.flamegraph = graph.n_levels ? &graph : NULL;
    return spy_message_write(&answer.base, out, err);
}

static int answer_stacktraces(const struct spy_querier_call *c, struct spy_buf *out,
                              struct spy_err *err)
{
    _cleanup_message_ struct spy_message m = {0};
    _cleanup_(spy_selection_free) struct spy_selection s = {0};
    uint32_t max_nodes = 0;
    int r =
        spy_message_read(c, &spy__querier__select_merge_stacktraces_request__descriptor, &m, err);
    if (r < 0)
        return r;
    const Spy__Querier__SelectMergeStacktracesRequest *asked = (void *)m.m;
    r = check_asked(asked, &max_nodes, err);
    if (r == 0)
        r = spy_selection_parse(c, asked->profile_type_id, asked->label_selector, &s, err);
    if (r == 0)
        r = spy_range_parse(asked->start, asked->end, c->now_ns, &s.select, err);
    s.select.rows_max = c->rows_max;
    return r < 0 ? r : write_stacktraces(c, &s, max_nodes, out, err);
}

const struct spy_querier_method spy_querier_stacktraces = {
    .path = "/querier.v1.QuerierService/SelectMergeStacktraces",
    .answer = answer_stacktraces,
    .n_asked = &n_stacktraces,
};
