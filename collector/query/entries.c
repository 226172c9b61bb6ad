// entries.c - GET /entries: the shares of endpoints, tasks and jobs, as JSON. The stack alone tells
// what a sample worked for (entry_find.h), so it works on whatever is stored.
#include "collector/query/answer_json.h"
#include "collector/query/entry_find.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include <stdlib.h>
#include <string.h>

static int64_t n_entries_asked;
enum { ENTRIES_SHOWN = 1000 }; // without max_nodes

struct entry_row {
    const struct spy_entry *entry; // NULL: the samples without an entry
    uint64_t count, ns;
};

SPY_CLEANUP(filter_done, struct spy_filter, spy_filter_free)
SPY_CLEANUP(entry_rows_done, struct entry_row, free)

// rows[0] is for the samples without an entry. Returns the sum.
static struct entry_row count_entries(const struct spy_profile *p, const struct spy_view *v,
                                      const struct spy_filter *f, const struct spy_entries *e,
                                      struct entry_row *rows)
{
    struct entry_row all = {0};
    for (size_t i = 0; i < e->n; i++)
        rows[i + 1].entry = &e->list[i];
    for (uint32_t i = 0; i < spy_profile_n_samples(p) && !spy_stop_is_set(v->stop); i++) {
        const struct spy_sample *s = spy_profile_sample_at(p, i);
        if (!spy_view_has(v, s) || !spy_filter_has(f, s))
            continue;
        struct entry_row *row = &rows[e->of_stack[s->stack]];
        row->count = spy_add_sat(row->count, s->count);
        row->ns = spy_add_sat(row->ns, s->ns);
        all.count = spy_add_sat(all.count, s->count);
        all.ns = spy_add_sat(all.ns, s->ns);
    }
    return all;
}

static int compare_entry_rows(const void *a, const void *b)
{
    const struct entry_row *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return x->entry < y->entry ? -1 : x->entry > y->entry;
}

static json_int_t limit_integer(uint64_t n)
{
    return n < INT64_MAX ? (json_int_t)n : INT64_MAX;
}

// By time, which holds across windows of different rates; by samples, where the time is not known.
static json_t *describe_share(const struct entry_row *row, const struct entry_row *all)
{
    double share = all->ns      ? (double)row->ns / (double)all->ns
                   : all->count ? (double)row->count / (double)all->count
                                : 0;
    return json_pack("{s:I, s:f, s:f}", "samples", limit_integer(row->count), "seconds",
                     (double)row->ns / 1e9, "share", share);
}

static json_t *describe_entry(const struct spy_profile *p, const struct entry_row *row,
                              const struct entry_row *all)
{
    char module[SPY_ENTRY_MODULE_MAX];
    const struct spy_function *f = spy_profile_function_at(p, row->entry->function);
    const char *file = spy_profile_text(p, f->filename);
    spy_entry_module(file, module, sizeof module);
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:I, s:s, s:s}", "name", spy_profile_text(p, f->name), "module",
                  module, "file", file, "line", (json_int_t)f->start_line, "kind",
                  spy_entry_kind_names[row->entry->kind], "framework", row->entry->framework);
    json_t *share = describe_share(row, all);
    json_object_update(o, share);
    json_decref(share);
    return o;
}

static int print_shares(const struct spy_profile *p, const struct spy_selector *s,
                        struct entry_row *rows, size_t n, const struct entry_row *all,
                        struct spy_answer *a, struct spy_err *err)
{
    char from[SPY_TIME_TEXT], until[SPY_TIME_TEXT];
    size_t seen = 0, shown = s->view.max_nodes ? s->view.max_nodes : ENTRIES_SHOWN;
    json_t *list = json_array(), *none = describe_share(&rows[0], all);
    qsort(rows + 1, n, sizeof *rows, compare_entry_rows);
    for (; seen < n && rows[seen + 1].count; seen++)
        if (seen < shown)
            json_array_append_new(list, describe_entry(p, &rows[seen + 1], all));
    spy_time_print(s->select.from_ns, from);
    spy_time_print(s->select.until_ns, until);
    return spy_answer_json(json_pack("{s:s, s:s, s:I, s:f, s:I, s:o, s:o}", "from", from, "until",
                                     until, "samples", limit_integer(all->count), "seconds",
                                     (double)all->ns / 1e9, "entries_in_all", (json_int_t)seen,
                                     "entries", list, "no_entry", none),
                           a, err);
}

static int answer_entries(const struct spy_question *q, struct spy_answer *a, struct spy_err *err)
{
    struct spy_selector s;
    _cleanup_profile_ struct spy_profile *p = NULL;
    _cleanup_(filter_done) struct spy_filter *filter = NULL;
    _cleanup_(spy_entries_done) struct spy_entries entries = {0};
    int r =
        spy_selector_parse(q->params, q->n_params, SPY_TAKES_NEITHER, q->now_ns, &s, a->hint, err);
    if (r == 0)
        r = spy_query_load(q, &s, &p, &filter, a->hint, err);
    if (r == 0)
        r = spy_entries_find(q, p, &entries, err);
    if (r < 0)
        return r;
    _cleanup_(entry_rows_done) struct entry_row *rows = calloc(entries.n + 1, sizeof *rows);
    if (!rows)
        return spy_err_nomem(err);
    struct entry_row all = count_entries(p, &s.view, filter, &entries, rows);
    return print_shares(p, &s, rows, entries.n, &all, a, err);
}

const struct spy_query spy_query_entries = {
    .path = "/entries",
    .kind = "entries",
    .n_asked = &n_entries_asked,
    .answer = answer_entries,
};
