// page.c - the page and speedscope: files of collector/web as answers.
#include "collector/cli/routes.h"
#include <string.h>

void spy_route_page(void *arg, const struct spy_http_request *req, struct spy_http_response *res)
{
    const struct spy_web_asset *a = spy_web_assets;
    (void)arg;
    while (strcmp(a->path, req->path) != 0) // the routes are made from these rows
        a++;
    res->content_type = a->media_type;
    res->policy = a->policy;
    res->cache_control = a->cache_control;
    res->constant = &a->file;
}
