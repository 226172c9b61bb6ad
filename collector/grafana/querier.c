#include "collector/grafana/querier.h"
#include "shared/base/mem.h"
#include "shared/base/metrics.h"
#include <stdio.h>
#include <string.h>

const struct spy_querier_method *const spy_querier_methods[] = {
    &spy_querier_profile_types, &spy_querier_label_names, &spy_querier_label_values,
    &spy_querier_series,        &spy_querier_stacktraces, NULL,
};

int spy_querier_answer(const char *path, const struct spy_querier_call *c, struct spy_buf *out,
                       struct spy_err *err)
{
    for (const struct spy_querier_method *const *m = spy_querier_methods; *m; m++)
        if (!strcmp((*m)->path, path)) {
            spy_count((*m)->n_asked, 1);
            return (*m)->answer(c, out, err);
        }
    return spy_err_set(err, SPY_ERR_NOTFOUND, 0, "there is no method %.100s", path);
}

// https://connectrpc.com/docs/protocol/#error-codes
const char *spy_querier_code(int code, unsigned *ret_status)
{
    static const struct {
        int code;
        unsigned status;
        const char *name;
    } rows[] = {
        {SPY_ERR_INVALID, 400, "invalid_argument"},
        {SPY_ERR_UNSUPPORTED, 501, "unimplemented"},
        {SPY_ERR_LIMIT, 429, "resource_exhausted"},
        {SPY_ERR_NOTFOUND, 404, "unimplemented"},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++)
        if (rows[i].code == code) {
            *ret_status = rows[i].status;
            return rows[i].name;
        }
    *ret_status = 503;
    return "unavailable";
}

void spy_querier_print_metrics(struct spy_buf *out)
{
    const char *help = "Questions asked by Grafana.";
    for (const struct spy_querier_method *const *m = spy_querier_methods; *m; m++) {
        char labels[64];
        snprintf(labels, sizeof labels, "method=\"%s\"", strrchr((*m)->path, '/') + 1);
        struct spy_metric row = {"podspy_collector_grafana_requests_total", labels, help,
                                 SPY_COUNTER, (*m)->n_asked};
        spy_metrics_print(&row, 1, out);
        help = NULL;
    }
}
