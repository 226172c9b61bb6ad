// grafana.c - the methods that Grafana's data source calls, as routes. Errors are the Connect
// protocol's: {"code", "message"}.
#include "collector/cli/routes.h"
#include "collector/grafana/querier.h"
#include "shared/base/clock.h"
#include "shared/base/compress.h"
#include "shared/base/log.h"
#include <jansson.h>
#include <malloc.h>
#include <string.h>

enum { QUESTION_ROWS = 1 << 18 }; // as ask.c's small questions
static const char message_type[] = "application/proto";

static void refuse_call(struct spy_http_response *res, unsigned status, const char *code,
                        const char *message)
{
    spy_http_error(res, status, "", "");
    spy_buf_reset(&res->body);
    spy_buf_printf(&res->body, "{\"code\":\"%s\",\"message\":\"", code);
    spy_buf_json(&res->body, message, strlen(message));
    spy_buf_puts(&res->body, "\"}\n");
}

// What access.c refuses, in the other form.
static void restate_refusal(struct spy_http_response *res)
{
    json_t *root = json_loadb((const char *)res->body.data, res->body.len, 0, NULL);
    const char *message = "", *hint = "";
    char text[1500];
    json_unpack(root, "{s:{s:s, s:s}}", "error", "message", &message, "hint", &hint);
    snprintf(text, sizeof text, "%s: %s", message, hint);
    unsigned status = res->status, retry_after = res->retry_after;
    refuse_call(res, status,
                status == 401   ? "unauthenticated"
                : status == 403 ? "permission_denied"
                                : "unavailable",
                text);
    res->retry_after = retry_after;
    json_decref(root);
}

enum spy_http_verdict spy_allow_grafana(void *arg, const struct spy_http_request *req,
                                        struct spy_http_response *res)
{
    enum spy_http_verdict v = spy_allow_read(arg, req, res);
    if (v == SPY_HTTP_REFUSED)
        restate_refusal(res);
    return v;
}

// The message, without its encoding.
static int unpack_body(const struct spy_http_request *req, struct spy_buf *unpacked,
                       const uint8_t **ret, size_t *ret_len, struct spy_err *err)
{
    enum spy_encoding encoding = SPY_ENCODING_IDENTITY;
    const char *type = req->content_type;
    size_t n = strlen(message_type);
    if (strncmp(type, message_type, n) != 0 || (type[n] && type[n] != ';' && type[n] != ' '))
        return spy_err_set(err, SPY_ERR_INVALID, 0, "Content-Type is '%.60s', not %s", type,
                           message_type);
    if (*req->content_encoding && spy_encoding_parse(req->content_encoding, &encoding) < 0)
        return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0,
                           "Content-Encoding is '%.60s', not identity, gzip or zstd",
                           req->content_encoding);
    *ret = req->body;
    *ret_len = req->body_len;
    if (encoding == SPY_ENCODING_IDENTITY)
        return 0;
    if (spy_decompress(encoding, req->body, req->body_len, unpacked, err) < 0)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "the body is damaged or too large");
    *ret = unpacked->data;
    *ret_len = unpacked->len;
    return 0;
}

static void refuse_failed(int r, const struct spy_err *err, const struct spy_http_request *req,
                          struct spy_http_response *res)
{
    unsigned status;
    const char *code = spy_querier_code(r, &status);
    refuse_call(res, status, code, err->msg[0] ? err->msg : spy_code_name(r));
    res->retry_after = status == 503 ? 5 : 0;
    if (status == 503 && r != SPY_ERR_GONE)
        spy_log(SPY_LOG_ERROR, "cannot answer Grafana", SPY_S("path", req->path),
                SPY_S("error", err->msg));
}

void spy_route_grafana(void *arg, const struct spy_http_request *req, struct spy_http_response *res)
{
    struct spy_collector *c = arg;
    struct spy_err err = {0};
    _cleanup_buf_ struct spy_buf unpacked = SPY_BUF_INIT(SPY_QUERIER_BODY_MAX);
    size_t memory = req->large ? c->memory.large : c->memory.question;
    struct spy_querier_call call = {.store = c->store,
                                    .memory = memory / 4 * 3,
                                    .rows_max = req->large ? 0 : QUESTION_ROWS,
                                    .stop = req->stop,
                                    .now_ns = spy_clock_real_ns()};
    res->body.max = memory / 4 < SPY_HTTP_ANSWER_MAX ? memory / 4 : SPY_HTTP_ANSWER_MAX;
    int r = unpack_body(req, &unpacked, &call.body, &call.len, &err);
    if (r == 0)
        r = spy_querier_answer(req->path, &call, &res->body, &err);
    if (req->large) // the allocator would keep what was freed in small pieces
        malloc_trim(0);
    if (r == 0) {
        res->content_type = message_type;
    } else if (r == SPY_ERR_LIMIT && !req->large) {
        spy_buf_reset(&res->body);
        res->is_large = true;
    } else {
        refuse_failed(r, &err, req, res);
    }
}
