#include "collector/http/headers.h"
#include <microhttpd.h>
#include <stdio.h>

// A browser may not guess another type for an answer, load anything for it or frame it.
static const char strict_policy[] = "default-src 'none'; frame-ancestors 'none'";

// value NULL: the header is left out.
static void put_header(struct spy_headers *h, const char *name, const char *value)
{
    if (!value)
        return;
    h->rows[h->n].name = name;
    h->rows[h->n++].value = value;
}

void spy_headers_of(const struct spy_http_response *res, bool ends, struct spy_headers *ret)
{
    bool packed = res->content_encoding && res->status != 304;
    ret->n = 0;
    snprintf(ret->retry_after, sizeof ret->retry_after, "%u", res->retry_after);
    snprintf(ret->keep, sizeof ret->keep, "private, max-age=%u", res->max_age);
    put_header(ret, MHD_HTTP_HEADER_CONTENT_TYPE, res->content_type);
    put_header(ret, "X-Content-Type-Options", "nosniff");
    put_header(ret, "Referrer-Policy", "no-referrer");
    put_header(ret, "Content-Security-Policy", res->policy ? res->policy : strict_policy);
    put_header(ret, MHD_HTTP_HEADER_CACHE_CONTROL,
               res->cache_control ? res->cache_control
               : res->max_age     ? ret->keep
                                  : "no-store");
    put_header(ret, MHD_HTTP_HEADER_VARY, res->varies ? "Accept, Accept-Encoding" : NULL);
    put_header(ret, MHD_HTTP_HEADER_ETAG, *res->etag ? res->etag : NULL);
    put_header(ret, MHD_HTTP_HEADER_CONTENT_ENCODING, packed ? res->content_encoding : NULL);
    put_header(ret, MHD_HTTP_HEADER_ALLOW, res->allow);
    put_header(ret, MHD_HTTP_HEADER_WWW_AUTHENTICATE, res->status == 401 ? "Bearer" : NULL);
    put_header(ret, MHD_HTTP_HEADER_RETRY_AFTER, res->retry_after ? ret->retry_after : NULL);
    put_header(ret, MHD_HTTP_HEADER_CONNECTION, ends ? "close" : NULL);
}
