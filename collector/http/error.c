#include "collector/http/http.h"
#include "shared/base/mem.h"
#include <string.h>

void spy_http_error(struct spy_http_response *res, unsigned status, const char *message,
                    const char *hint)
{
    static const struct {
        unsigned status;
        const char *code;
    } codes[] = {{400, "bad_request"},
                 {401, "unauthorized"},
                 {403, "forbidden"},
                 {404, "not_found"},
                 {405, "method_not_allowed"},
                 {413, "too_large"},
                 {415, "unsupported_media_type"},
                 {429, "too_many"},
                 {503, "unavailable"},
                 {507, "no_space"}};
    const char *code = "error";
    for (size_t i = 0; i < SPY_COUNT(codes); i++)
        if (codes[i].status == status)
            code = codes[i].code;
    spy_buf_reset(&res->body);
    res->status = status;
    res->content_type = "application/json";
    res->policy = NULL;
    res->max_age = 0;
    res->cache_control = NULL;
    res->constant = NULL;
    res->content_encoding = NULL; // of what the error takes the place of
    res->etag[0] = 0;
    spy_buf_printf(&res->body, "{\"error\":{\"code\":\"%s\",\"message\":\"", code);
    spy_buf_json(&res->body, message, strlen(message));
    spy_buf_puts(&res->body, "\",\"hint\":\"");
    spy_buf_json(&res->body, hint, strlen(hint));
    spy_buf_puts(&res->body, "\"}}\n");
}
