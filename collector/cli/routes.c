#include "collector/cli/collector.h"
#include "collector/query/query.h"
#include "shared/base/clock.h"
#include "shared/base/log.h"
#include "shared/base/mem.h"
#include <malloc.h>

#define A_MINUTE    (60 * SPY_NS_PER_SEC)
#define A_FULL_DISK (5 * SPY_NS_PER_SEC)
enum { CLOSED_MAX_AGE = 300 }; // of answers about a time that is over; seconds

// --- who may ---

static const struct {
    enum spy_http_verdict verdict;
    unsigned status, retry_after;
} verdicts[] = {
    [SPY_AUTH_YES] = {SPY_HTTP_ALLOWED, 200, 0},
    [SPY_AUTH_UNKNOWN] = {SPY_HTTP_REFUSED, 401, 0},
    [SPY_AUTH_FORBIDDEN] = {SPY_HTTP_REFUSED, 403, 0},
    [SPY_AUTH_AWAY] = {SPY_HTTP_REFUSED, 503, 2},
    [SPY_AUTH_LATER] = {SPY_HTTP_LATER, 0, 0},
};

static const char *hint_of(const struct spy_collector *c, enum spy_auth_role role, unsigned status)
{
    unsigned ways = role == SPY_AUTH_INGEST ? c->config.auth.ingest : c->config.auth.read;
    if (status == 503)
        return "try again; what was granted in the last minute goes on";
    if (ways == SPY_AUTH_MTLS)
        return "present a certificate of an authority in tls.client_ca_file, in date and for "
               "clients (clientAuth)";
    if (!(ways & SPY_AUTH_KUBERNETES))
        return role == SPY_AUTH_INGEST
                   ? "send 'Authorization: Bearer TOKEN' with the token in ingest.token of the "
                     "collector's data folder"
                   : "send 'Authorization: Bearer TOKEN' with the token in read.token of the "
                     "collector's data folder";
    return role == SPY_AUTH_INGEST
               ? "send a projected token of the agent's service account, for the collector's "
                 "audience (docs/kubernetes.md)"
               : "send the token of an account that may get the collector's service, or use "
                 "kubectl "
                 "port-forward to port 8080, which needs none (docs/kubernetes.md)";
}

static enum spy_http_verdict check_credential(struct spy_collector *c, enum spy_auth_role role,
                                              const struct spy_http_request *req,
                                              struct spy_http_response *res)
{
    static uint64_t last[2];
    const char *why;
    struct spy_credential credential = {req->authorization, req->tls_session};
    if (req->local)
        return SPY_HTTP_ALLOWED;
    enum spy_auth_answer a = spy_auth_check(c->auth, role, &credential, req->may_wait, &why);
    if (verdicts[a].verdict != SPY_HTTP_REFUSED)
        return verdicts[a].verdict;
    spy_http_error(res, verdicts[a].status, why, hint_of(c, role, verdicts[a].status));
    res->retry_after = verdicts[a].retry_after;
    if (a != SPY_AUTH_AWAY && spy_log_due(&last[role], A_MINUTE))
        spy_log(SPY_LOG_WARN, "a request without a right credential was refused",
                SPY_S("path", req->path), SPY_S("why", why));
    return SPY_HTTP_REFUSED;
}

static enum spy_http_verdict allow_read(void *arg, const struct spy_http_request *req,
                                        struct spy_http_response *res)
{
    return check_credential(arg, SPY_AUTH_READ, req, res);
}

static enum spy_http_verdict allow_plain(void *arg, const struct spy_http_request *req,
                                         struct spy_http_response *res)
{
    (void)arg;
    if (!req->n_params)
        return SPY_HTTP_ALLOWED;
    spy_http_error(res, 400, "this path takes no parameters", "leave them out");
    return SPY_HTTP_REFUSED;
}

static enum spy_http_verdict allow_metrics(void *arg, const struct spy_http_request *req,
                                           struct spy_http_response *res)
{
    enum spy_http_verdict v = allow_read(arg, req, res);
    return v == SPY_HTTP_ALLOWED ? allow_plain(arg, req, res) : v;
}

static enum spy_http_verdict allow_push(void *arg, const struct spy_http_request *req,
                                        struct spy_http_response *res)
{
    enum spy_http_verdict v = check_credential(arg, SPY_AUTH_INGEST, req, res);
    return v == SPY_HTTP_ALLOWED ? allow_plain(arg, req, res) : v;
}

// --- profiles in ---

static const struct {
    unsigned status, retry_after;
    const char *hint;
} refusals[SPY_INGEST_OUTCOMES] = {
    [SPY_INGEST_BAD_TYPE] = {415, 0,
                             "send OTLP Profiles as application/x-protobuf or application/json, as "
                             "they are or with Content-Encoding gzip or zstd"},
    [SPY_INGEST_MALFORMED] = {400, 0,
                              "send an ExportProfilesServiceRequest of OTLP Profiles "
                              "v1development (docs/wire.md)"},
    [SPY_INGEST_TOO_LARGE] =
        {413, 0, "push smaller windows, or raise limits.body_mib and limits.memory_mib"},
    [SPY_INGEST_TOO_FAST] = {429, 20,
                             "push less often or at a lower rate, or raise "
                             "limits.agent_mib_per_minute"},
    [SPY_INGEST_BUSY_AGENTS] = {429, 60, "raise limits.agents, or run more collectors"},
    [SPY_INGEST_FULL] = {507, 60,
                         "raise the bound that the message names, or shorten retention.raw"},
    [SPY_INGEST_DISK_FULL] = {507, 60,
                              "free space on the collector's disk, or shorten retention.raw or "
                              "lower retention.max_gib: what is dropped makes room, and pushes "
                              "are taken again"},
    [SPY_INGEST_NOT_TAKEN] = {400, 0, "docs/wire.md tells which profiles are taken"},
    [SPY_INGEST_CLOCK] = {503, 60,
                          "nothing is lost: the sender keeps its profiles and tries again; set the "
                          "clock of the collector or of the sender right"},
    [SPY_INGEST_UNAVAILABLE] = {503, 5, "try again; the collector's log tells more"},
};

static void post_profiles(void *arg, const struct spy_http_request *req,
                          struct spy_http_response *res)
{
    static uint64_t last, last_expiry;
    struct spy_collector *c = arg;
    struct spy_err err = {0};
    struct spy_ingest_body body = {.content_type = req->content_type,
                                   .content_encoding = req->content_encoding,
                                   .date = req->date,
                                   .version = req->profiles_version,
                                   .data = req->body,
                                   .len = req->body_len,
                                   .stop = req->stop};
    const char *type;
    enum spy_ingest_outcome o = spy_ingest_take(c->ingest, &body, &res->body, &type, &err);
    if (o == SPY_INGEST_TAKEN) {
        res->content_type = type;
        return;
    }
    if (refusals[o].status >= 500)
        __atomic_store_n(&c->ready_until, 0, __ATOMIC_RELAXED);
    spy_http_error(res, refusals[o].status, err.msg, refusals[o].hint);
    res->retry_after = refusals[o].retry_after;
    if (o == SPY_INGEST_DISK_FULL && spy_log_due(&last_expiry, A_FULL_DISK))
        spy_every_now(c->retention); // what is too old by now makes room
    if (spy_log_due(&last, A_MINUTE))
        spy_log(refusals[o].status >= 500 ? SPY_LOG_ERROR : SPY_LOG_WARN,
                "a batch of profiles was refused", SPY_I("status", refusals[o].status),
                SPY_S("why", err.msg));
}

// --- questions ---

enum { SMALL_ROWS = 1 << 18 }; // some tenths of a second

typedef int (*query_fn)(const struct spy_question *q, struct spy_answer *a, struct spy_err *err);

static unsigned status_of(int r)
{
    return r == SPY_ERR_INVALID    ? 400
           : r == SPY_ERR_NOTFOUND ? 404
           : r == SPY_ERR_LIMIT    ? 413
                                   : 503;
}

static void answer_query(struct spy_collector *c, query_fn query,
                         const struct spy_http_request *req, struct spy_http_response *res)
{
    struct spy_param params[SPY_HTTP_PARAMS];
    struct spy_err err = {0};
    struct spy_answer a = {.body = &res->body};
    size_t memory = req->large ? c->memory.large : c->memory.question;
    for (size_t i = 0; i < req->n_params; i++)
        params[i] = (struct spy_param){req->params[i].name, req->params[i].value};
    struct spy_question q = {.store = c->store,
                             .params = params,
                             .n_params = req->n_params,
                             .accept = req->accept,
                             .memory = memory / 4 * 3,
                             .rows_max = req->large ? 0 : SMALL_ROWS,
                             .stop = req->stop,
                             .now_ns = spy_clock_real_ns()};
    res->body.max = memory / 4 < SPY_HTTP_ANSWER_MAX ? memory / 4 : SPY_HTTP_ANSWER_MAX;
    int r = query(&q, &a, &err);
    if (req->large) // else what was freed in small pieces stays with the allocator
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
    unsigned status = status_of(r);
    const char *hint = *a.hint         ? a.hint
                       : status == 413 ? "narrow the selection, or set max_nodes"
                                       : "try again; the collector's log tells more";
    spy_http_error(res, status, err.msg[0] ? err.msg : spy_code_name(r), hint);
    res->retry_after = status == 503 ? 5 : 0;
    if (status == 503 && r != SPY_ERR_GONE)
        spy_log(SPY_LOG_ERROR, "a question could not be answered", SPY_S("path", req->path),
                SPY_S("why", err.msg));
}

static void get_profiles(void *arg, const struct spy_http_request *req,
                         struct spy_http_response *res)
{
    answer_query(arg, spy_query_profile, req, res);
}

static void get_top(void *arg, const struct spy_http_request *req, struct spy_http_response *res)
{
    answer_query(arg, spy_query_top, req, res);
}

static void get_pods(void *arg, const struct spy_http_request *req, struct spy_http_response *res)
{
    answer_query(arg, spy_query_pods, req, res);
}

static void get_index(void *arg, const struct spy_http_request *req, struct spy_http_response *res)
{
    answer_query(arg, spy_query_index, req, res);
}

// --- how it is ---

static void get_healthz(void *arg, const struct spy_http_request *req,
                        struct spy_http_response *res)
{
    (void)arg;
    (void)req;
    res->content_type = "text/plain; charset=utf-8";
    spy_buf_puts(&res->body, "ok\n");
}

// A check writes to the disk, and whoever reaches the port may ask for one: a good one holds for a
// second, unless a push fails meanwhile.
static int check_store(struct spy_collector *c, struct spy_err *err)
{
    uint64_t now = spy_clock_mono_ns();
    if (now < __atomic_load_n(&c->ready_until, __ATOMIC_RELAXED))
        return 0;
    int r = spy_store_check(c->store, err);
    if (r == 0)
        __atomic_store_n(&c->ready_until, now + SPY_NS_PER_SEC, __ATOMIC_RELAXED);
    return r;
}

static void get_readyz(void *arg, const struct spy_http_request *req, struct spy_http_response *res)
{
    struct spy_collector *c = arg;
    struct spy_err err = {0};
    if (__atomic_load_n(&c->ending, __ATOMIC_RELAXED))
        spy_http_error(res, 503, "the collector is ending", "ask another one");
    else if (check_store(c, &err) < 0)
        spy_http_error(res, 503, err.msg, "the store cannot be written: see the collector's log");
    else
        get_healthz(arg, req, res);
}

static int64_t one = 1;
static const struct spy_metric build_info[] = {
    {"podspy_collector_build_info", "version=\"" PODSPY_VERSION "\"",
     "Always 1; the version is its label.", SPY_GAUGE, &one}};

static void get_metrics(void *arg, const struct spy_http_request *req,
                        struct spy_http_response *res)
{
    const struct {
        const struct spy_metric *rows;
        size_t n;
    } tables[] = {{build_info, SPY_COUNT(build_info)},
                  {spy_http_metrics, spy_http_n_metrics},
                  {spy_auth_metrics, spy_auth_n_metrics},
                  {spy_ingest_metrics, spy_ingest_n_metrics},
                  {spy_query_metrics, spy_query_n_metrics}};
    (void)arg;
    (void)req;
    res->content_type = "text/plain; version=0.0.4; charset=utf-8";
    for (size_t i = 0; i < SPY_COUNT(tables); i++)
        spy_metrics_print(tables[i].rows, tables[i].n, &res->body);
}

#define POST    .method = "POST", .lane = SPY_HTTP_PUSH, .takes_body = true, .remote_only = true
#define ASK     .method = "GET", .lane = SPY_HTTP_QUESTION
#define GET     .method = "GET", .lane = SPY_HTTP_PROMPT
#define AT_ONCE .at_once = true
const struct spy_http_route spy_collector_routes[] = {
    {POST, .path = "/v1development/profiles", .allow = allow_push, .handle = post_profiles},
    {ASK, .path = "/profiles", .allow = allow_read, .handle = get_profiles},
    {ASK, .path = "/top", .allow = allow_read, .handle = get_top},
    {ASK, .path = "/pods", .allow = allow_read, .handle = get_pods},
    {ASK, .path = "/", .allow = allow_read, .handle = get_index},
    {GET, .path = "/readyz", .allow = allow_plain, .handle = get_readyz},
    {GET, .path = "/healthz", AT_ONCE, .allow = allow_plain, .handle = get_healthz},
    {GET, .path = "/metrics", AT_ONCE, .allow = allow_metrics, .handle = get_metrics},
    {.method = NULL},
};
