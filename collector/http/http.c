#include "collector/http/http.h"
#include "collector/http/watch.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/base/metrics.h"
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER_MAX = 512 << 20, EPOLL_THREADS = 2 };
#define TLS_PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

static int64_t n_requests, n_refused, n_errors, n_busy;
const struct spy_metric spy_http_metrics[] = {
    {"podspy_collector_http_requests_total", NULL, "Requests answered.", SPY_COUNTER, &n_requests},
    {"podspy_collector_http_refused_total", NULL, "Requests answered with 4xx.", SPY_COUNTER,
     &n_refused},
    {"podspy_collector_http_errors_total", NULL, "Requests answered with 5xx.", SPY_COUNTER,
     &n_errors},
    {"podspy_collector_http_busy_total", NULL, "Requests refused because too much was under way.",
     SPY_COUNTER, &n_busy},
};
const size_t spy_http_n_metrics = SPY_COUNT(spy_http_metrics);

struct listener {
    struct spy_http *http;
    struct MHD_Daemon *daemon;
    bool local;
    unsigned port;
};

struct job {
    struct spy_http *http;
    struct MHD_Connection *connection;
    const struct spy_http_route *route;
    struct spy_http_request req;
    struct spy_http_response res;
    struct spy_http_param params[SPY_HTTP_PARAMS];
    char method[16], path[256];
    struct spy_buf body;
    bool refused, done;
    struct job *next;
};

struct spy_http {
    struct spy_http_options options;
    struct listener tls, plain;
    struct spy_watch *watch;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job *first, *last;
    unsigned n_queued;
    bool stop;
    pthread_t workers[SPY_HTTP_WORKERS];
    unsigned n_workers;
    size_t bodies; // bytes held, under lock
};

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
    spy_buf_printf(&res->body, "{\"error\":{\"code\":\"%s\",\"message\":\"", code);
    spy_buf_json(&res->body, message, strlen(message));
    spy_buf_puts(&res->body, "\",\"hint\":\"");
    spy_buf_json(&res->body, hint, strlen(hint));
    spy_buf_puts(&res->body, "\"}}\n");
}

// --- jobs ---

static enum MHD_Result add_param(void *arg, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    struct job *j = arg;
    (void)kind;
    if (j->req.n_params == SPY_HTTP_PARAMS) {
        j->refused = true;
        spy_http_error(&j->res, 400, "too many parameters", "at most 64 are taken");
        return MHD_NO;
    }
    j->params[j->req.n_params++] = (struct spy_http_param){name, value ? value : ""};
    return MHD_YES;
}

static const char *header(struct MHD_Connection *c, const char *name)
{
    const char *v = MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
    return v ? v : "";
}

static struct job *job_new(struct listener *l, struct MHD_Connection *c, const char *path,
                           const char *method)
{
    struct job *j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    j->http = l->http;
    j->connection = c;
    j->body = SPY_BUF_INIT(l->http->options.body_max);
    j->res = (struct spy_http_response){
        .status = 200, .content_type = "application/json", .body = SPY_BUF_INIT(ANSWER_MAX)};
    snprintf(j->method, sizeof j->method, "%s", method);
    snprintf(j->path, sizeof j->path, "%s", path);
    j->req =
        (struct spy_http_request){.method = j->method,
                                  .path = j->path,
                                  .params = j->params,
                                  .content_type = header(c, MHD_HTTP_HEADER_CONTENT_TYPE),
                                  .content_encoding = header(c, MHD_HTTP_HEADER_CONTENT_ENCODING),
                                  .authorization = header(c, MHD_HTTP_HEADER_AUTHORIZATION),
                                  .accept = header(c, MHD_HTTP_HEADER_ACCEPT),
                                  .local = l->local};
    if (!l->local) {
        const union MHD_ConnectionInfo *i =
            MHD_get_connection_info(c, MHD_CONNECTION_INFO_GNUTLS_SESSION);
        j->req.tls_session = i ? i->tls_session : NULL;
    }
    MHD_get_connection_values(c, MHD_GET_ARGUMENT_KIND, add_param, j);
    return j;
}

static void job_free(struct job *j)
{
    pthread_mutex_lock(&j->http->lock);
    j->http->bodies -= j->body.len;
    pthread_mutex_unlock(&j->http->lock);
    spy_buf_free(&j->body);
    spy_buf_free(&j->res.body);
    free(j);
}

static void refuse(struct job *j, unsigned status, const char *message, const char *hint)
{
    j->refused = true;
    spy_http_error(&j->res, status, message, hint);
}

static void find_route(struct job *j)
{
    bool path_known = false;
    const char *method = strcmp(j->method, "HEAD") ? j->method : "GET";
    for (const struct spy_http_route *r = j->http->options.routes; r->method; r++) {
        if (strcmp(r->path, j->path) != 0)
            continue;
        path_known = true;
        if (!strcmp(r->method, method))
            j->route = r;
    }
    if (!j->route && path_known)
        refuse(j, 405, "this path does not take that method", "see docs/http.md for what it takes");
    else if (!j->route)
        refuse(j, 404, "there is nothing at this path",
               "try /profiles, /pods, /healthz or /metrics");
    else if (j->route->remote_only && j->req.local)
        refuse(j, 403, "the plain listener is for queries only",
               "send profiles to the TLS listener");
}

// What can be refused before a byte of the body is read.
static void check_early(struct job *j)
{
    if (!j->refused)
        find_route(j);
    if (!j->refused && j->route->allow && !j->route->allow(j->http->options.arg, &j->req, &j->res))
        j->refused = true;
    if (j->refused)
        return;
    const char *length = header(j->connection, MHD_HTTP_HEADER_CONTENT_LENGTH);
    unsigned long long n = strtoull(length, NULL, 10);
    if (n > j->http->options.body_max)
        refuse(j, 413, "the body is too large", "raise limits.body_mib or push smaller windows");
    else if (n && !j->route->takes_body)
        refuse(j, 400, "this path takes no body", "send a request without one");
}

static enum MHD_Result answer(struct job *j)
{
    struct spy_http_response *res = &j->res;
    if (res->body.failed)
        spy_http_error(res, 413, "the answer is too large", "narrow the selection");
    spy_count(&n_requests, 1);
    spy_count(res->status >= 500 ? &n_errors : &n_refused, res->status >= 400);
    size_t len = res->body.len;
    struct MHD_Response *r =
        MHD_create_response_from_buffer(len, len ? res->body.data : NULL, MHD_RESPMEM_MUST_FREE);
    if (!r)
        return MHD_NO;
    if (len)
        res->body = SPY_BUF_INIT(0); // MHD frees it now
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, res->content_type);
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (res->policy)
        MHD_add_response_header(r, "Content-Security-Policy", res->policy);
    if (res->status == 401)
        MHD_add_response_header(r, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    if (res->retry_after) {
        char text[16];
        snprintf(text, sizeof text, "%u", res->retry_after);
        MHD_add_response_header(r, MHD_HTTP_HEADER_RETRY_AFTER, text);
    }
    if (j->refused && j->route && j->route->takes_body)
        MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
    enum MHD_Result ok = MHD_queue_response(j->connection, res->status, r);
    MHD_destroy_response(r);
    return ok;
}

static void busy(struct job *j)
{
    spy_count(&n_busy, 1);
    refuse(j, 503, "too much is under way", "try again after some seconds");
    j->res.retry_after = 2;
}

static enum MHD_Result take_body(struct job *j, const char *data, size_t *len)
{
    size_t before = j->body.len;
    if (!j->refused && spy_buf_append(&j->body, data, *len) < 0)
        refuse(j, 413, "the body is too large", "raise limits.body_mib or push smaller windows");
    pthread_mutex_lock(&j->http->lock);
    j->http->bodies += j->body.len - before;
    bool full = j->http->bodies > j->http->options.bodies_max;
    pthread_mutex_unlock(&j->http->lock);
    if (full && !j->refused)
        busy(j);
    spy_watch_bytes(j->http->watch, j->connection, *len);
    // libmicrohttpd cannot answer in the middle of an upload: what was refused there is cut off.
    if (j->refused)
        return MHD_NO;
    *len = 0;
    return MHD_YES;
}

static enum MHD_Result hand_over(struct job *j)
{
    struct spy_http *h = j->http;
    j->req.body = j->body.data ? j->body.data : (const uint8_t *)"";
    j->req.body_len = j->body.len;
    pthread_mutex_lock(&h->lock);
    if (h->n_queued >= SPY_HTTP_QUEUE || h->stop) {
        pthread_mutex_unlock(&h->lock);
        busy(j);
        return answer(j);
    }
    spy_watch_answered(h->watch, j->connection); // from now on it is we who are slow
    MHD_suspend_connection(j->connection);
    if (h->last)
        h->last->next = j;
    else
        h->first = j;
    h->last = j;
    h->n_queued++;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
    return MHD_YES;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *len, void **state)
{
    struct listener *l = arg;
    struct job *j = *state;
    (void)version;
    if (!j) {
        *state = j = job_new(l, c, url, method);
        if (!j)
            return MHD_NO;
        spy_watch_headers_done(l->http->watch, c);
        check_early(j);
        return j->refused ? answer(j) : MHD_YES;
    }
    if (*len)
        return take_body(j, data, len);
    if (j->done || j->refused)
        return answer(j);
    return hand_over(j);
}

static void on_completed(void *arg, struct MHD_Connection *c, void **state,
                         enum MHD_RequestTerminationCode why)
{
    struct listener *l = arg;
    (void)why;
    spy_watch_answered(l->http->watch, c);
    if (*state)
        job_free(*state);
    *state = NULL;
}

static void *work(void *arg)
{
    struct spy_http *h = arg;
    pthread_mutex_lock(&h->lock);
    for (;;) {
        while (!h->first && !h->stop)
            pthread_cond_wait(&h->wake, &h->lock);
        struct job *j = h->first;
        if (!j)
            break; // told to stop, and all is done
        h->first = j->next;
        h->last = h->first ? h->last : NULL;
        h->n_queued--;
        pthread_mutex_unlock(&h->lock);
        j->route->handle(h->options.arg, &j->req, &j->res);
        j->done = true;
        MHD_resume_connection(j->connection);
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

// --- listeners ---

int spy_http_split_address(const char *text, char *host, size_t size, unsigned *ret_port,
                           struct spy_err *err)
{
    const char *colon = strrchr(text, ':');
    const char *from = text, *to = colon;
    char *end = NULL;
    unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;
    if (!colon || !colon[1] || *end || port > 65535)
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "'%s' is not an address: write ADDR:PORT, such as 127.0.0.1:8443", text);
    if (*from == '[' && to > from && to[-1] == ']') {
        from++;
        to--;
    }
    if ((size_t)(to - from) >= size)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "'%s' is too long for an address", text);
    memcpy(host, from, (size_t)(to - from));
    host[to - from] = 0;
    *ret_port = (unsigned)port;
    return 0;
}

static int open_socket(const char *address, unsigned *ret_port, struct spy_err *err)
{
    char host[256], service[8];
    unsigned port = 0;
    int r = spy_http_split_address(address, host, sizeof host, &port, err);
    if (r < 0)
        return r;
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *ai;
    if (getaddrinfo(*host ? host : NULL, service, &hints, &ai) != 0)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "cannot look up the address '%s'", host);
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
              bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, 1024) == 0;
    int sys = errno;
    freeaddrinfo(ai);
    if (!ok) {
        if (fd >= 0)
            close(fd);
        return spy_err_set(err, SPY_ERR_IO, sys, "cannot listen on %s", address);
    }
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &len) == 0)
        *ret_port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                      : ((struct sockaddr_in *)&bound)->sin_port);
    return fd;
}

static void on_connection(void *arg, struct MHD_Connection *c, void **state,
                          enum MHD_ConnectionNotificationCode code)
{
    struct listener *l = arg;
    (void)state;
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        spy_watch_add(l->http->watch, c, i ? i->connect_fd : -1);
    else
        spy_watch_remove(l->http->watch, c);
}

static bool is_off(const char *address)
{
    return !address || !*address || !strcmp(address, "off");
}

static int start_listener(struct listener *l, const char *address, struct spy_err *err)
{
    const struct spy_http_options *o = &l->http->options;
    if (is_off(address))
        return 0;
    int fd = open_socket(address, &l->port, err);
    if (fd < 0)
        return fd;
    struct MHD_OptionItem tls[4];
    size_t n = 0;
    if (!l->local) {
        tls[n++] =
            (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)o->cert_pem};
        tls[n++] =
            (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)o->key_pem};
        tls[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0,
                                           (void *)(uintptr_t)TLS_PRIORITY};
        if (o->client_ca_pem)
            tls[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_TRUST, 0,
                                               (void *)(uintptr_t)o->client_ca_pem};
    }
    struct MHD_OptionItem all[5];
    memcpy(all, tls, n * sizeof *tls);
    all[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    unsigned flags =
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | (l->local ? 0 : MHD_USE_TLS);
    l->daemon = MHD_start_daemon(
        flags, (uint16_t)l->port, NULL, NULL, on_request, l, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_THREAD_POOL_SIZE, (unsigned)EPOLL_THREADS, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)SPY_HTTP_CONNECTIONS, MHD_OPTION_PER_IP_CONNECTION_LIMIT, o->connections_per_ip,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SPY_HTTP_IDLE_SECS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)65536, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, l, MHD_OPTION_NOTIFY_CONNECTION, on_connection, l, MHD_OPTION_ARRAY, all,
        MHD_OPTION_END);
    if (!l->daemon) {
        close(fd);
        return spy_err_set(err, SPY_ERR_IO, 0, "cannot serve on %s: %s", address,
                           l->local ? "libmicrohttpd refused"
                                    : "libmicrohttpd refused; are certificate and key a pair?");
    }
    return 0;
}

int spy_http_new(const struct spy_http_options *options, struct spy_http **ret, struct spy_err *err)
{
    struct spy_http *h = calloc(1, sizeof *h);
    if (!h)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    h->options = *options;
    h->tls = (struct listener){.http = h};
    h->plain = (struct listener){.http = h, .local = true};
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->wake, NULL);
    int r = spy_watch_new(&h->watch, err);
    while (r == 0 && h->n_workers < SPY_HTTP_WORKERS) {
        if (pthread_create(&h->workers[h->n_workers], NULL, work, h) != 0)
            r = spy_err_set(err, SPY_ERR_NOMEM, 0, "cannot start a thread");
        else
            h->n_workers++;
    }
    if (r == 0)
        r = start_listener(&h->tls, options->https, err);
    if (r == 0)
        r = start_listener(&h->plain, options->http, err);
    if (r < 0) {
        spy_http_free(h);
        return r;
    }
    *ret = h;
    return 0;
}

unsigned spy_http_tls_port(const struct spy_http *h)
{
    return h->tls.daemon ? h->tls.port : 0;
}

unsigned spy_http_plain_port(const struct spy_http *h)
{
    return h->plain.daemon ? h->plain.port : 0;
}

void spy_http_free(struct spy_http *h)
{
    if (!h)
        return;
    MHD_socket fds[2] = {-1, -1};
    if (h->tls.daemon)
        fds[0] = MHD_quiesce_daemon(h->tls.daemon);
    if (h->plain.daemon)
        fds[1] = MHD_quiesce_daemon(h->plain.daemon);
    pthread_mutex_lock(&h->lock);
    h->stop = true;
    pthread_cond_broadcast(&h->wake);
    pthread_mutex_unlock(&h->lock);
    for (unsigned i = 0; i < h->n_workers; i++) // all that was handed over is answered
        pthread_join(h->workers[i], NULL);
    if (h->tls.daemon)
        MHD_stop_daemon(h->tls.daemon);
    if (h->plain.daemon)
        MHD_stop_daemon(h->plain.daemon);
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    spy_watch_free(h->watch);
    pthread_cond_destroy(&h->wake);
    pthread_mutex_destroy(&h->lock);
    free(h);
}
