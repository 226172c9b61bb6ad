#include "collector/query/query.h"
#include "shared/base/metrics.h"
#include <stdio.h>
#include <string.h>

const struct spy_query *const spy_queries[] = {
    &spy_query_profiles, // profile.c
    &spy_query_diff,     // diff.c
    &spy_query_top,      // top.c
    &spy_query_entries,  // entries.c
    &spy_query_timeline, // timeline.c
    &spy_query_stacks,   // stacks.c
    &spy_query_pods,     // pods.c
    &spy_query_index,    // index.c
    &spy_query_root,     // index.c
    NULL,
};

int spy_query_answer(const char *path, const struct spy_question *q, struct spy_answer *a,
                     struct spy_err *err)
{
    for (const struct spy_query *const *row = spy_queries; *row; row++)
        if (!strcmp((*row)->path, path)) {
            spy_count((*row)->n_asked, 1);
            return (*row)->answer(q, a, err);
        }
    return spy_err_set(err, SPY_ERR_NOTFOUND, 0, "there is no query %s", path);
}

void spy_query_print_metrics(struct spy_buf *out)
{
    const char *help = "Questions asked.";
    for (const struct spy_query *const *row = spy_queries; *row; row++) {
        char labels[64];
        if (!(*row)->kind)
            continue;
        snprintf(labels, sizeof labels, "kind=\"%s\"", (*row)->kind);
        struct spy_metric m = {"podspy_collector_queries_total", labels, help, SPY_COUNTER,
                               (*row)->n_asked};
        spy_metrics_print(&m, 1, out);
        help = NULL;
    }
}
