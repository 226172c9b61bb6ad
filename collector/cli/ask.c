// ask.c - queries: from a request to a question, and from its result to an answer.
#include "collector/cli/routes.h"
#include "collector/query/query.h"
#include "shared/base/clock.h"
#include "shared/base/log.h"
#include <malloc.h>
#include <unistd.h>

enum { CLOSED_MAX_AGE = 300 }; // seconds that an answer about a time that is over may be kept
enum { SMALL_ROWS = 1 << 19 }; // less than a tenth of a second

static unsigned status_of(int r)
{
    return r == SPY_ERR_INVALID    ? 400
           : r == SPY_ERR_NOTFOUND ? 404
           : r == SPY_ERR_LIMIT    ? 413
                                   : 503;
}

static void answer_failure(int r, const struct spy_err *err, const struct spy_answer *a,
                           const struct spy_http_request *req, struct spy_http_response *res)
{
    unsigned status = status_of(r);
    const char *hint = *a->hint        ? a->hint
                       : status == 413 ? "narrow the selection, or set max_nodes"
                                       : "try again; the collector's log has the reason";
    spy_http_error(res, status, err->msg[0] ? err->msg : spy_code_name(r), hint);
    res->retry_after = status == 503 ? 5 : 0;
    if (status == 503 && r != SPY_ERR_GONE)
        spy_log(SPY_LOG_ERROR, "cannot answer a query", SPY_S("path", req->path),
                SPY_S("error", err->msg));
}

// Small questions run beside each other, a thread each. Large ones leave them readers of the store.
static unsigned count_readers(const struct spy_collector *c, const struct spy_http_request *req)
{
    enum { FOR_LARGE = 4 };
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned most = FOR_LARGE / c->memory.large_at_once;
    return !req->large ? 0 : cores < 2 ? 1 : cores < (long)most ? (unsigned)cores : most;
}

void spy_route_query(void *arg, const struct spy_http_request *req, struct spy_http_response *res)
{
    struct spy_collector *c = arg;
    struct spy_err err = {0};
    struct spy_answer a = {.body = &res->body};
    size_t memory = req->large ? c->memory.large : c->memory.question;
    struct spy_question q = {.store = c->store,
                             .params = req->params,
                             .n_params = req->n_params,
                             .accept = req->accept,
                             .memory = memory / 4 * 3,
                             .rows_max = req->large ? 0 : SMALL_ROWS,
                             .workers = count_readers(c, req),
                             .stop = req->stop,
                             .entry_patterns = c->entries,
                             .n_entry_patterns = c->config.n_entries,
                             .now_ns = spy_clock_real_ns()};
    res->body.max = memory / 4 < SPY_HTTP_ANSWER_MAX ? memory / 4 : SPY_HTTP_ANSWER_MAX;
    int r = spy_query_answer(req->path, &q, &a, &err);
    if (req->large) // the allocator would keep what was freed in small pieces
        malloc_trim(0);
    if (r == 0) {
        res->content_type = a.media_type;
        res->policy = a.policy;
        res->max_age = spy_query_is_closed(&q) ? CLOSED_MAX_AGE : 0;
        return;
    }
    if (r == SPY_ERR_LIMIT && !req->large) {
        spy_buf_reset(&res->body);
        res->is_large = true;
        return;
    }
    answer_failure(r, &err, &a, req, res);
}
