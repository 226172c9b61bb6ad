#include "collector/http/content.h"
#include "collector/http/headers.h"
#include "collector/http/server.h"
#include "collector/http/strict.h"
#include "shared/base/mem.h"
#include "shared/base/metrics.h"
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { HINT_MAX = 1024 };

static int64_t n_requests, n_refused, n_errors, n_busy;
const struct spy_metric spy_http_metrics[] = {
    {"podspy_collector_http_requests_total", NULL, "Requests answered.", SPY_COUNTER, &n_requests},
    {"podspy_collector_http_refused_total", NULL, "Requests answered with 4xx.", SPY_COUNTER,
     &n_refused},
    {"podspy_collector_http_errors_total", NULL, "Requests answered with 5xx.", SPY_COUNTER,
     &n_errors},
    {"podspy_collector_http_busy_total", NULL, "Requests refused because too much was under way.",
     SPY_COUNTER, &n_busy},
    {"podspy_collector_http_cut_total", NULL, "Connections cut off because they were too slow.",
     SPY_COUNTER, &spy_deadlines_n_cut},
    {"podspy_collector_http_connections", NULL, "Connections that are open.", SPY_GAUGE,
     &spy_deadlines_n_open},
};
const size_t spy_http_n_metrics = SPY_COUNT(spy_http_metrics);

static void refuse_request(struct spy_job *j, unsigned status, const char *message,
                           const char *hint)
{
    j->state = SPY_JOB_REFUSED;
    spy_http_error(&j->res, status, message, hint);
}

static void refuse_busy(struct spy_job *j)
{
    spy_count(&n_busy, 1);
    refuse_request(j, 503, "too many requests are in progress", "try again after a few seconds");
    j->res.retry_after = 2;
}

static void refuse_no_place(struct spy_job *j, enum spy_lane_put put)
{
    refuse_busy(j);
    if (put == SPY_LANE_CROWDED) {
        refuse_request(j, 429, "too many questions from this address wait",
                       "ask again when some of them are answered");
        j->res.retry_after = 2;
    }
}

static void refuse_too_large(struct spy_job *j)
{
    refuse_request(j, 413, "the body is too large",
                   "push smaller windows, or raise limits.body_mib");
}

// --- from a request to a job ---

static const struct sockaddr *client_of(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    return i ? i->client_addr : NULL;
}

static enum MHD_Result add_param(void *arg, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    struct spy_job *j = arg;
    (void)kind;
    if (j->req.n_params == SPY_HTTP_PARAMS) {
        refuse_request(j, 400, "too many parameters", "send at most 64");
        return MHD_NO;
    }
    j->params[j->req.n_params++] = (struct spy_param){name, value ? value : ""};
    return MHD_YES;
}

static const char *get_header(struct MHD_Connection *c, const char *name)
{
    const char *v = MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
    return v ? v : "";
}

static struct spy_job *job_new(struct spy_listener *l, struct MHD_Connection *c, const char *path,
                               const char *method)
{
    struct spy_job *j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    j->listener = l;
    j->connection = c;
    j->client = client_of(c);
    j->body = SPY_BUF_INIT(l->http->options.body_max);
    j->res = (struct spy_http_response){.status = 200,
                                        .content_type = "application/json",
                                        .body = SPY_BUF_INIT(SPY_HTTP_ANSWER_MAX)};
    snprintf(j->method, sizeof j->method, "%s", method);
    snprintf(j->path, sizeof j->path, "%s", path);
    j->req = (struct spy_http_request){
        .method = j->method,
        .path = j->path,
        .params = j->params,
        .content_type = get_header(c, MHD_HTTP_HEADER_CONTENT_TYPE),
        .content_encoding = get_header(c, MHD_HTTP_HEADER_CONTENT_ENCODING),
        .authorization = get_header(c, MHD_HTTP_HEADER_AUTHORIZATION),
        .accept = get_header(c, MHD_HTTP_HEADER_ACCEPT),
        .accept_encoding = get_header(c, MHD_HTTP_HEADER_ACCEPT_ENCODING),
        .if_none_match = get_header(c, MHD_HTTP_HEADER_IF_NONE_MATCH),
        .date = get_header(c, MHD_HTTP_HEADER_DATE),
        .profiles_version = get_header(c, "otlp-profiles-development-version"),
        .local = l->local,
        .stop = &j->gone};
    if (!l->local) {
        const union MHD_ConnectionInfo *i =
            MHD_get_connection_info(c, MHD_CONNECTION_INFO_GNUTLS_SESSION);
        j->req.tls_session = i ? i->tls_session : NULL;
    }
    MHD_get_connection_values(c, MHD_GET_ARGUMENT_KIND, add_param, j);
    pthread_mutex_lock(&l->http->lock);
    l->http->n_jobs++;
    pthread_mutex_unlock(&l->http->lock);
    return j;
}

// Counts the bytes of bodies that are held; h->lock is held. Returns whether they are within their
// bounds. Large bodies may not take all of it, so that small ones always find room.
static bool count_body(struct spy_job *j, size_t before, size_t after)
{
    struct spy_http *h = j->listener->http;
    h->bodies += after - before;
    h->large_bodies +=
        (after > SPY_HTTP_BODY_SMALL ? after : 0) - (before > SPY_HTTP_BODY_SMALL ? before : 0);
    size_t max = h->options.bodies_max;
    return h->bodies <= max && (after <= SPY_HTTP_BODY_SMALL || h->large_bodies <= max / 4 * 3);
}

static void job_free(struct spy_job *j)
{
    struct spy_http *h = j->listener->http;
    pthread_mutex_lock(&h->lock);
    count_body(j, j->body.len, 0);
    h->answers -= j->answer_len;
    if (--h->n_jobs == 0)
        pthread_cond_broadcast(&h->idle);
    pthread_mutex_unlock(&h->lock);
    spy_buf_free(&j->body);
    spy_buf_free(&j->res.body);
    free(j);
}

static void give_back_body(struct spy_job *j)
{
    struct spy_http *h = j->listener->http;
    pthread_mutex_lock(&h->lock);
    count_body(j, j->body.len, 0);
    pthread_mutex_unlock(&h->lock);
    spy_buf_free(&j->body);
}

// The hint lists the paths of the routes.
static void refuse_path(struct spy_job *j)
{
    _cleanup_buf_ struct spy_buf hint = SPY_BUF_INIT(HINT_MAX);
    spy_buf_puts(&hint, "known are");
    const char *comma = "";
    for (const struct spy_http_route *r = j->listener->http->options.routes; r->method; r++)
        if (!r->unlisted && (!r->remote_only || !j->req.local)) {
            spy_buf_printf(&hint, "%s %s", comma, r->path);
            comma = ",";
        }
    refuse_request(j, 404, "there is nothing at this path", spy_buf_str(&hint));
}

static void refuse_method(struct spy_job *j, const char *known)
{
    char hint[64];
    snprintf(hint, sizeof hint, "it takes %s", known);
    j->res.allow = known;
    refuse_request(j, 405, "this path does not take that method", hint);
}

static void find_route(struct spy_job *j)
{
    const char *known = NULL; // the methods that the path takes
    const char *method = strcmp(j->method, "HEAD") ? j->method : "GET";
    for (const struct spy_http_route *r = j->listener->http->options.routes; r->method; r++) {
        if (strcmp(r->path, j->path) != 0)
            continue;
        known = strcmp(r->method, "GET") ? r->method : "GET, HEAD";
        if (!strcmp(r->method, method))
            j->route = r;
    }
    if (!known)
        refuse_path(j);
    else if (!j->route)
        refuse_method(j, known);
    else if (j->route->remote_only && j->req.local)
        refuse_request(j, 403, "the plain listener is for queries only",
                       "send profiles to the TLS listener");
}

static bool has_body(struct spy_job *j)
{
    return strtoull(get_header(j->connection, MHD_HTTP_HEADER_CONTENT_LENGTH), NULL, 10) > 0 ||
           *get_header(j->connection, MHD_HTTP_HEADER_TRANSFER_ENCODING);
}

// A verdict that needs waiting is left to a worker, and must then come.
static void ask_allow(struct spy_job *j)
{
    if (!j->route->allow)
        return;
    enum spy_http_verdict v = j->route->allow(j->listener->http->options.arg, &j->req, &j->res);
    if (v == SPY_HTTP_LATER && !j->req.may_wait)
        j->state = SPY_JOB_DECIDING;
    else if (v != SPY_HTTP_ALLOWED)
        j->state = SPY_JOB_REFUSED;
}

// If a request is not sound HTTP, its connection ends with the refusal.
static void check_form(struct spy_job *j, const char *version, bool bad_target)
{
    struct spy_fault f = spy_strict_check(j->connection, version, bad_target, j->req.local);
    if (f.status)
        refuse_request(j, f.status, f.message, f.hint);
    j->cut = f.status == 400;
}

// Refuses what can be refused before a byte of the body is read.
static void check_early(struct spy_job *j)
{
    const struct spy_http_options *o = &j->listener->http->options;
    if (j->state == SPY_JOB_CHECKING && j->req.local &&
        !spy_http_host_is_loopback(get_header(j->connection, MHD_HTTP_HEADER_HOST)))
        refuse_request(j, 403, "the plain listener accepts Host localhost and 127.0.0.1 only",
                       "use the TLS listener from elsewhere");
    if (j->state == SPY_JOB_CHECKING)
        find_route(j);
    if (j->state == SPY_JOB_CHECKING)
        ask_allow(j);
    if (j->state == SPY_JOB_REFUSED)
        return;
    const char *length = get_header(j->connection, MHD_HTTP_HEADER_CONTENT_LENGTH);
    if (strtoull(length, NULL, 10) > o->body_max)
        refuse_too_large(j);
    else if (has_body(j) && !j->route->takes_body)
        refuse_request(j, 400, "this path takes no body", "send a request without one");
}

// --- answers ---

static const char *reason_phrase(unsigned status)
{
    return status == 413 ? "Content Too Large" : "Service Unavailable";
}

static void send_raw(struct spy_job *j, const void *data, size_t len)
{
    const union MHD_ConnectionInfo *i;
    if (j->req.tls_session) {
        gnutls_record_send(j->req.tls_session, data, len);
        return;
    }
    i = MHD_get_connection_info(j->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (i && send(i->connect_fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return; // the client has gone, or sees the connection end without an answer
}

// libmicrohttpd accepts no answer in the middle of an upload, so this answer is written by hand.
// Nothing else has been sent for this request, and the connection ends with it.
static enum MHD_Result answer_and_cut(struct spy_job *j)
{
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(4096);
    struct spy_headers h;
    spy_headers_of(&j->res, true, &h);
    spy_buf_printf(&b, "HTTP/1.1 %u %s\r\nContent-Length: %zu\r\n", j->res.status,
                   reason_phrase(j->res.status), j->res.body.len);
    for (size_t i = 0; i < h.n; i++)
        spy_buf_printf(&b, "%s: %s\r\n", h.rows[i].name, h.rows[i].value);
    spy_buf_puts(&b, "\r\n");
    spy_buf_append(&b, j->res.body.data, j->res.body.len);
    spy_count(&n_requests, 1);
    spy_count(j->res.status >= 500 ? &n_errors : &n_refused, 1);
    spy_deadlines_refused(j->listener->http->deadlines, j->connection);
    if (!b.failed)
        send_raw(j, b.data, b.len);
    return MHD_NO;
}

// Sets the bytes that are counted for the job's answer. False: all answers together would hold too
// much. A small answer always has room, so that slow readers cannot prevent the acknowledgement of a
// push or the answer to a probe.
static bool count_answer(struct spy_job *j, size_t bytes)
{
    struct spy_http *h = j->listener->http;
    pthread_mutex_lock(&h->lock);
    size_t others = h->answers - j->answer_len;
    bool is_small = j->res.body.len <= SPY_HTTP_ANSWER_SMALL;
    bool fits = is_small || others + bytes <= h->options.answers_max;
    if (fits) {
        h->answers = others + bytes;
        j->answer_len = bytes;
    }
    pthread_mutex_unlock(&h->lock);
    return fits;
}

static void give_up_answer(struct spy_job *j)
{
    spy_buf_free(&j->res.body);
    refuse_busy(j);
    count_answer(j, j->res.body.len);
}

// While an answer is compressed, both copies count. Without room for both it is sent uncompressed.
static void prepare_answer(struct spy_job *j)
{
    struct spy_buf *body = &j->res.body;
    j->res.keeps_plain = !count_answer(j, body->cap + body->len);
    if (j->res.keeps_plain && !count_answer(j, body->cap)) {
        give_up_answer(j);
        return;
    }
    spy_content_prepare(&j->req, &j->res);
    count_answer(j, body->len); // less than before
}

static void add_headers(const struct spy_http_response *res, bool ends, struct MHD_Response *r)
{
    struct spy_headers h;
    spy_headers_of(res, ends, &h);
    for (size_t i = 0; i < h.n; i++)
        MHD_add_response_header(r, h.rows[i].name, h.rows[i].value);
}

// The bytes that are sent, which libmicrohttpd frees unless they are constant.
static struct MHD_Response *make_response(struct spy_http_response *res, size_t *ret_len)
{
    size_t len = *ret_len = res->constant ? res->sent_len : res->body.len;
    if (res->constant)
        return MHD_create_response_from_buffer(len, (void *)(uintptr_t)res->sent,
                                               MHD_RESPMEM_PERSISTENT);
    struct MHD_Response *r =
        MHD_create_response_from_buffer(len, len ? res->body.data : NULL, MHD_RESPMEM_MUST_FREE);
    if (r && len)
        res->body = SPY_BUF_INIT(0); // libmicrohttpd owns it now
    return r;
}

static enum MHD_Result send_answer(struct spy_job *j)
{
    struct spy_http_response *res = &j->res;
    if (res->body.failed)
        spy_http_error(res, 413, "the answer is too large",
                       "narrow the selection, or set max_nodes");
    if (!count_answer(j, res->body.len))
        give_up_answer(j);
    spy_count(&n_requests, 1);
    if (res->status >= 400)
        spy_count(res->status >= 500 ? &n_errors : &n_refused, 1);
    size_t len;
    struct MHD_Response *r = make_response(res, &len);
    if (!r)
        return MHD_NO;
    bool ends = spy_lanes_are_closing(j->listener->http) || j->cut ||
                (j->state == SPY_JOB_REFUSED && has_body(j));
    add_headers(res, ends, r);
    spy_deadlines_enter(j->listener->http->deadlines, j->connection, SPY_PHASE_SENDING, len);
    enum MHD_Result ok = MHD_queue_response(j->connection, res->status, r);
    MHD_destroy_response(r);
    return ok;
}

// --- the steps of a request ---

static enum MHD_Result receive_body(struct spy_job *j, const char *data, size_t *len)
{
    struct spy_http *h = j->listener->http;
    size_t before = j->body.len;
    if (spy_buf_append(&j->body, data, *len) < 0)
        refuse_too_large(j);
    pthread_mutex_lock(&h->lock);
    bool fits = count_body(j, before, j->body.len);
    pthread_mutex_unlock(&h->lock);
    if (!fits && j->state != SPY_JOB_REFUSED)
        refuse_busy(j);
    spy_deadlines_bytes(h->deadlines, j->connection, *len);
    if (j->state == SPY_JOB_REFUSED) {
        give_back_body(j);
        return answer_and_cut(j);
    }
    *len = 0;
    return MHD_YES;
}

// Gives the job to a worker. False: it was refused, as too many wait.
static bool put_in_lane(struct spy_job *j)
{
    struct spy_http *h = j->listener->http;
    pthread_mutex_lock(&h->lock);
    enum spy_http_lane lane = j->state == SPY_JOB_DECIDING ? SPY_HTTP_PROMPT : j->route->lane;
    enum spy_lane_put put = spy_lane_put(h, j, lane);
    if (put == SPY_LANE_TAKEN) { // the worker needs the lock to take it
        spy_deadlines_work(h->deadlines, j->connection, &j->gone);
        MHD_suspend_connection(j->connection);
    }
    pthread_mutex_unlock(&h->lock);
    if (put != SPY_LANE_TAKEN)
        refuse_no_place(j, put);
    return put == SPY_LANE_TAKEN;
}

static enum MHD_Result hand_over(struct spy_job *j)
{
    j->req.body = j->body.data ? j->body.data : (const uint8_t *)"";
    j->req.body_len = j->body.len;
    if (!j->route->at_once && put_in_lane(j))
        return MHD_YES;
    if (j->route->at_once) {
        j->route->handle(j->listener->http->options.arg, &j->req, &j->res);
        spy_content_prepare(&j->req, &j->res);
    }
    return send_answer(j);
}

static enum MHD_Result answer_refusal(struct spy_job *j)
{
    if (has_body(j))
        spy_deadlines_refused(j->listener->http->deadlines, j->connection);
    return send_answer(j);
}

static enum MHD_Result expect_body(struct spy_job *j)
{
    j->state = SPY_JOB_READING;
    spy_deadlines_enter(j->listener->http->deadlines, j->connection, SPY_PHASE_BODY, 0);
    return MHD_YES;
}

static enum MHD_Result begin_job(struct spy_job *j, const char *version, bool bad_target)
{
    check_form(j, version, bad_target);
    check_early(j);
    if (j->state == SPY_JOB_DECIDING && put_in_lane(j))
        return MHD_YES;
    return j->state == SPY_JOB_REFUSED ? answer_refusal(j) : expect_body(j);
}

enum MHD_Result spy_job_on_request(void *arg, struct MHD_Connection *c, const char *url,
                                   const char *method, const char *version, const char *data,
                                   size_t *len, void **state)
{
    bool bad_target = spy_strict_take_mark(state);
    struct spy_job *j = *state;
    if (!j) {
        *state = j = job_new(arg, c, url, method);
        return j ? begin_job(j, version, bad_target) : MHD_NO;
    }
    switch (j->state) {
    case SPY_JOB_ALLOWED:
        return expect_body(j);
    case SPY_JOB_REFUSED:
        return answer_refusal(j);
    case SPY_JOB_DONE:
        return send_answer(j);
    default:
        return *len ? receive_body(j, data, len) : hand_over(j);
    }
}

void spy_job_on_completed(void *arg, struct MHD_Connection *c, void **state,
                          enum MHD_RequestTerminationCode why)
{
    struct spy_listener *l = arg;
    (void)why;
    spy_deadlines_enter(l->http->deadlines, c, SPY_PHASE_WAITING, 0);
    if (!spy_strict_take_mark(state) && *state)
        job_free(*state);
    *state = NULL;
}

bool spy_job_run(struct spy_job *j, bool drop)
{
    struct spy_http *h = j->listener->http;
    j->req.may_wait = true;
    if (j->state == SPY_JOB_DECIDING) {
        ask_allow(j);
        if (j->state != SPY_JOB_REFUSED)
            j->state = SPY_JOB_ALLOWED;
        return false; // spy_job_on_request is called once more
    }
    j->req.large = j->lane == SPY_HTTP_LARGE;
    j->res.is_large = false;
    if (drop)
        refuse_request(j, 503, "the collector is ending", "ask again in a few seconds");
    else
        j->route->handle(h->options.arg, &j->req, &j->res);
    if (j->res.is_large && !j->req.large)
        return true;
    give_back_body(j);
    prepare_answer(j);
    if (j->state != SPY_JOB_REFUSED)
        j->state = SPY_JOB_DONE;
    return false;
}

void spy_job_resume(struct spy_job *j, enum spy_lane_put put)
{
    if (put != SPY_LANE_TAKEN)
        refuse_no_place(j, put);
    MHD_resume_connection(j->connection); // from here on libmicrohttpd's thread owns the job
}
