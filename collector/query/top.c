// top.c - the functions that took the most time, as JSON: each with the samples in which it was
// running itself (self) and those in which it was on the stack (total, once a sample even if it is
// recursive).
#include "collector/query/answer_json.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static int64_t n_tops;
enum { ROWS = 1000 }; // without max_nodes

struct row {
    uint32_t function, seen; // seen: the last sample that counted it, plus one
    uint64_t self, total, self_ns, total_ns;
};

SPY_CLEANUP(filter_done, struct spy_filter, spy_filter_free)
SPY_CLEANUP(rows_done, struct row, free)

static void count_functions(const struct spy_profile *p, const struct spy_view *v, uint32_t id,
                            struct row *rows)
{
    const struct spy_sample *s = spy_profile_sample_at(p, id);
    bool inner = true; // the innermost frame that the view shows
    for (uint32_t at = s->stack; at; at = spy_profile_stack_at(p, at)->parent) {
        uint32_t f = spy_profile_frame_at(p, spy_profile_stack_at(p, at)->frame)->function;
        if (v->no_native && spy_profile_function_at(p, f)->kind == SPY_FRAME_NATIVE)
            continue;
        struct row *r = &rows[f];
        r->function = f;
        if (inner) {
            r->self = spy_add_sat(r->self, s->count);
            r->self_ns = spy_add_sat(r->self_ns, s->ns);
        }
        inner = false;
        if (r->seen == id + 1)
            continue;
        r->seen = id + 1;
        r->total = spy_add_sat(r->total, s->count);
        r->total_ns = spy_add_sat(r->total_ns, s->ns);
    }
}

// Counts the samples that view and filter keep, by function; returns their sum.
static uint64_t count_shown_samples(const struct spy_profile *p, const struct spy_view *v,
                                    const struct spy_filter *f, struct row *rows)
{
    uint64_t samples = 0;
    uint32_t n = spy_profile_n_samples(p);
    for (uint32_t i = 0; i < n; i++) {
        const struct spy_sample *s = spy_profile_sample_at(p, i);
        if (spy_stop_is_set(v->stop))
            return 0;
        if (!spy_view_has(v, s) || !spy_filter_has(f, s))
            continue;
        samples = spy_add_sat(samples, s->count);
        count_functions(p, v, i, rows);
    }
    return samples;
}

static int compare_rows_by_self(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->self != y->self)
        return x->self < y->self ? 1 : -1;
    if (x->total != y->total)
        return x->total < y->total ? 1 : -1;
    return x->function < y->function ? -1 : x->function > y->function;
}

static json_int_t clamp_json_integer(uint64_t n)
{
    return n < INT64_MAX ? (json_int_t)n : INT64_MAX;
}

static json_t *describe_function(const struct spy_profile *p, const struct row *r)
{
    static const char *const kinds[] = {[SPY_FRAME_PYTHON] = "python",
                                        [SPY_FRAME_NATIVE] = "native",
                                        [SPY_FRAME_MARKER] = "marker"};
    const struct spy_function *f = spy_profile_function_at(p, r->function);
    const char *kind = f->kind < SPY_COUNT(kinds) ? kinds[f->kind] : "python";
    return json_pack("{s:s, s:s, s:I, s:s, s:I, s:I, s:f, s:f}", "name",
                     spy_profile_text(p, f->name), "file", spy_profile_text(p, f->filename), "line",
                     (json_int_t)f->start_line, "kind", kind, "self", clamp_json_integer(r->self),
                     "total", clamp_json_integer(r->total), "self_seconds",
                     (double)r->self_ns / 1e9, "total_seconds", (double)r->total_ns / 1e9);
}

static int print_top(const struct spy_profile *p, const struct spy_selector *s,
                     const struct row *rows, size_t n, uint64_t samples, struct spy_answer *a,
                     struct spy_err *err)
{
    char from[SPY_TIME_TEXT], until[SPY_TIME_TEXT];
    size_t shown = s->view.max_nodes ? s->view.max_nodes : ROWS;
    json_t *list = json_array();
    for (size_t i = 0; i < n && i < shown; i++)
        json_array_append_new(list, describe_function(p, &rows[i]));
    spy_time_print(s->select.from_ns, from);
    spy_time_print(s->select.until_ns, until);
    json_t *root = json_pack("{s:s, s:s, s:I, s:I, s:o}", "from", from, "until", until, "samples",
                             clamp_json_integer(samples), "functions_in_all", (json_int_t)n,
                             "functions", list);
    struct spy_account account;
    int r = spy_profile_account(p, &account);
    if (r < 0) {
        json_decref(root);
        return spy_err_set(err, r, 0, "out of memory");
    }
    spy_answer_account(&account, root);
    return spy_answer_json(root, a, err);
}

static int answer_top(const struct spy_question *q, struct spy_answer *a, struct spy_err *err)
{
    struct spy_selector s;
    _cleanup_profile_ struct spy_profile *p = NULL;
    _cleanup_(filter_done) struct spy_filter *filter = NULL;
    int r =
        spy_selector_parse(q->params, q->n_params, SPY_TAKES_GROUP, q->now_ns, &s, a->hint, err);
    s.entries_alone = true;
    if (r == 0)
        r = spy_query_load(q, &s, &p, &filter, a->hint, err);
    if (r < 0)
        return r;
    size_t all = spy_profile_n_functions(p), n = 0;
    _cleanup_(rows_done) struct row *rows = calloc(all + 1, sizeof *rows);
    if (!rows)
        return spy_err_nomem(err);
    uint64_t samples = count_shown_samples(p, &s.view, filter, rows);
    for (size_t i = 0; i < all; i++)
        if (rows[i].seen)
            rows[n++] = rows[i];
    qsort(rows, n, sizeof *rows, compare_rows_by_self);
    return print_top(p, &s, rows, n, samples, a, err);
}

const struct spy_query spy_query_top = {
    .path = "/top",
    .kind = "top",
    .n_asked = &n_tops,
    .answer = answer_top,
};
