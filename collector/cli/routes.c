#include "collector/cli/routes.h"
#include "collector/grafana/querier.h"
#include "collector/query/query.h"
#include "shared/base/mem.h"
#include <string.h>

static const struct spy_http_route *const rows[] = {
    &spy_route_push,
    &spy_route_readyz,
    &spy_route_healthz,
    &spy_route_metrics,
};

static bool is_asset(const char *path)
{
    for (const struct spy_web_asset *a = spy_web_assets; a->path; a++)
        if (!strcmp(a->path, path))
            return true;
    return false;
}

// A folder's page is listed, the files that it loads are not.
static struct spy_http_route route_of_asset(const struct spy_web_asset *a)
{
    return (struct spy_http_route){.method = "GET",
                                   .path = a->path,
                                   .at_once = true,
                                   .unlisted = a->path[strlen(a->path) - 1] != '/',
                                   .handle = spy_route_page};
}

// Queries first, as the answer to an unknown path lists them in this order.
void spy_collector_list_routes(struct spy_http_route *ret)
{
    for (const struct spy_query *const *q = spy_queries; *q; q++)
        if (!is_asset((*q)->path))
            *ret++ = (struct spy_http_route){.method = "GET",
                                             .path = (*q)->path,
                                             .lane = SPY_HTTP_QUESTION,
                                             .allow = spy_allow_read,
                                             .handle = spy_route_query};
    for (const struct spy_querier_method *const *m = spy_querier_methods; *m; m++)
        *ret++ = (struct spy_http_route){.method = "POST",
                                         .path = (*m)->path,
                                         .lane = SPY_HTTP_QUESTION,
                                         .takes_body = true,
                                         .allow = spy_allow_grafana,
                                         .handle = spy_route_grafana};
    for (const struct spy_web_asset *a = spy_web_assets; a->path; a++)
        *ret++ = route_of_asset(a);
    for (size_t i = 0; i < SPY_COUNT(rows); i++)
        *ret++ = *rows[i];
    *ret = (struct spy_http_route){.method = NULL};
}
