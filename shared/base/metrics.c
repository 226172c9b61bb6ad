#include "shared/base/metrics.h"

enum { NS = 1000000000 };

int spy_metrics_print(const struct spy_metric *rows, size_t n, struct spy_buf *out)
{
    for (size_t i = 0; i < n; i++) {
        const struct spy_metric *m = &rows[i];
        if (m->help)
            spy_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name,
                           m->kind == SPY_GAUGE ? "gauge" : "counter");
        spy_buf_puts(out, m->name);
        if (m->labels)
            spy_buf_printf(out, "{%s}", m->labels);
        long long value = (long long)spy_metric_get(m->value);
        if (m->kind == SPY_COUNTER_NS)
            spy_buf_printf(out, " %lld.%09lld\n", value / NS, value % NS);
        else
            spy_buf_printf(out, " %lld\n", value);
    }
    return out->failed;
}
