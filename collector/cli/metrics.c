// metrics.c - /metrics: the tables of all rooms.
#include "collector/cli/collector.h"
#include "collector/cli/routes.h"
#include "collector/grafana/querier.h"
#include "collector/query/query.h"
#include "shared/base/mem.h"

static int64_t one = 1;
static const struct spy_metric build_info[] = {
    {"podspy_collector_build_info", "version=\"" PODSPY_VERSION "\"",
     "Always 1; the version is its label.", SPY_GAUGE, &one},
    {"podspy_collector_config_current", NULL,
     "1: the configuration in use is that of its file; 0: the file is refused, or needs a restart.",
     SPY_GAUGE, &spy_reload_is_current}};

static void get_metrics(void *arg, const struct spy_http_request *req,
                        struct spy_http_response *res)
{
    const struct {
        const struct spy_metric *rows;
        size_t n;
    } tables[] = {{build_info, SPY_COUNT(build_info)},
                  {spy_http_metrics, spy_http_n_metrics},
                  {spy_auth_metrics, spy_auth_n_metrics},
                  {spy_ingest_metrics, spy_ingest_n_metrics}};
    struct spy_collector *c = arg;
    (void)req;
    res->content_type = "text/plain; version=0.0.4; charset=utf-8";
    for (size_t i = 0; i < SPY_COUNT(tables); i++)
        spy_metrics_print(tables[i].rows, tables[i].n, &res->body);
    spy_usage_print(arg, &res->body);
    spy_query_print_metrics(&res->body);
    spy_ingest_print_clocks(c->ingest, &res->body);
    spy_querier_print_metrics(&res->body);
}

const struct spy_http_route spy_route_metrics = {
    .method = "GET",
    .path = "/metrics",
    .lane = SPY_HTTP_PROMPT,
    .allow = spy_allow_metrics,
    .handle = get_metrics,
};
