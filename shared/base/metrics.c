#include "shared/base/metrics.h"

int spy_metrics_print(const struct spy_metric *rows, size_t n, struct spy_buf *out)
{
    for (size_t i = 0; i < n; i++) {
        const struct spy_metric *m = &rows[i];
        if (m->help)
            spy_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name,
                           m->kind == SPY_COUNTER ? "counter" : "gauge");
        spy_buf_puts(out, m->name);
        if (m->labels)
            spy_buf_printf(out, "{%s}", m->labels);
        spy_buf_printf(out, " %lld\n", (long long)spy_metric_get(m->value));
    }
    return out->failed;
}
