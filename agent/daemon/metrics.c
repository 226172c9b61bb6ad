#include "agent/daemon/metrics.h"
#include "agent/upload/upload.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <limits.h>
#include <stdio.h>

enum { BYTES_MAX = 64 << 10 };

static int print_sampler_metrics(struct spy_sampler *s, struct spy_buf *out)
{
    struct spy_sampler_totals t = spy_sampler_totals(s);
    const struct spy_account *a = spy_sampler_account(s);
    int64_t running = (int64_t)a->running_ns, counted[SPY_COUNTERS];
    for (int c = 0; c < SPY_COUNTERS; c++)
        counted[c] = (int64_t)a->counted[c].sum;
    int64_t processes = (int64_t)spy_sampler_n_processes(s), clean = (int64_t)t.clean,
            salvaged = (int64_t)t.salvaged, paused = (int64_t)t.paused, failed = (int64_t)t.failed,
            late = (int64_t)t.late, merged = (int64_t)(t.native - t.unmerged),
            unmerged = (int64_t)t.unmerged;
    const struct spy_metric rows[] = {
        {"podspy_agent_processes", NULL, "Processes that are opted in.", SPY_GAUGE, &processes},
        {"podspy_agent_samples_total", "result=\"clean\"",
         "Samples of threads: clean, salvaged (their proven part) and paused were counted, failed "
         "could not be read.",
         SPY_COUNTER, &clean},
        {"podspy_agent_samples_total", "result=\"salvaged\"", NULL, SPY_COUNTER, &salvaged},
        {"podspy_agent_samples_total", "result=\"paused\"", NULL, SPY_COUNTER, &paused},
        {"podspy_agent_samples_total", "result=\"failed\"", NULL, SPY_COUNTER, &failed},
        {"podspy_agent_native_samples_total", "result=\"merged\"",
         "Those with native frames: merged with the Python frames, or shown by the latter alone.",
         SPY_COUNTER, &merged},
        {"podspy_agent_native_samples_total", "result=\"unmerged\"", NULL, SPY_COUNTER, &unmerged},
        {"podspy_agent_late_rounds_total", NULL, "Rounds that were skipped because time ran out.",
         SPY_COUNTER, &late},
        SPY_ACCOUNT_METRICS("podspy_agent", running, counted),
    };
    return spy_metrics_print(rows, SPY_COUNT(rows), out);
}

int spy_daemon_write_metrics(const char *folder, struct spy_sampler *s, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf text = SPY_BUF_INIT(BYTES_MAX);
    char path[PATH_MAX];
    int r = print_sampler_metrics(s, &text);
    if (r == 0)
        r = spy_metrics_print(spy_upload_metrics, spy_upload_n_metrics, &text);
    if (r == 0 && snprintf(path, sizeof path, "%s/metrics.prom", folder) >= PATH_MAX)
        r = SPY_ERR_LIMIT;
    if (r < 0)
        return spy_err_set(err, r, 0, "cannot print the metrics");
    return spy_file_write_atomic(path, text.data, text.len, 0644, err);
}
