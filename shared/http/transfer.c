#include "shared/http/transfer.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include "shared/base/token.h"
#include "shared/http/trust.h"
#include <ctype.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

enum { RETRY_AFTER_MAX_SECS = 86400 };

static bool is_given(const char *s)
{
    return s && *s;
}

// --- what libcurl calls ---

static long read_status(const struct spy_transfer *t)
{
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct spy_transfer *t = arg;
    size *= n;
    if (t->request.on_data && read_status(t) == 200)
        return t->request.on_data(t->request.arg, data, size) ? size : 0;
    return spy_buf_append(&t->answer.body, data, size) < 0 ? 0 : size;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
    struct spy_transfer *t = arg;
    size *= n;
    bool is_last = size >= 2 && data[0] == '\r';
    if (is_last && t->request.on_begin && read_status(t) == 200)
        t->request.on_begin(t->request.arg);
    return size;
}

static bool is_aborted(const struct spy_transfer *t)
{
    return __atomic_load_n(&t->client->aborted, __ATOMIC_RELAXED);
}

static bool is_ended_by_us(const struct spy_transfer *t)
{
    return is_aborted(t) || spy_stop_is_set(t->request.stop);
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    return is_ended_by_us(arg);
}

// A server whose machine died sends no end of the connection.
static int on_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
    int dead_secs = (int)((struct spy_transfer *)arg)->client->o.dead_secs;
    const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, dead_secs / 2},
        {IPPROTO_TCP, TCP_KEEPINTVL, dead_secs / 4},
        {IPPROTO_TCP, TCP_KEEPCNT, 2},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, dead_secs * 1000},
    };
    (void)purpose;
    for (size_t i = 0; i < SPY_COUNT(options); i++) // a system that lacks one works without it
        setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                   sizeof options[i].value);
    return CURL_SOCKOPT_OK;
}

// --- the headers ---

static int add_header(struct spy_transfer *t, const char *text, struct spy_err *err)
{
    struct curl_slist *longer = curl_slist_append(t->headers, text);
    if (!longer)
        return spy_err_nomem(err);
    t->headers = longer;
    return 0;
}

static int add_token(struct spy_transfer *t, struct spy_err *err)
{
    const char *file = t->client->o.token_file;
    char header[SPY_CLIENT_TOKEN_MAX + 32] = "Authorization: Bearer ";
    size_t at = strlen(header);
    const char *fault = spy_token_read_to_send(file, header + at, SPY_CLIENT_TOKEN_MAX);
    int r = fault ? spy_err_set(err, SPY_ERR_DENIED, 0, "token file %s %s", file, fault)
                  : add_header(t, header, err);
    explicit_bzero(header, sizeof header);
    return r;
}

static int make_headers(struct spy_transfer *t, struct spy_err *err)
{
    int r = t->request.body ? add_header(t, "Expect:", err) : 0; // no 100-continue
    for (size_t i = 0; i < t->request.n_headers && r == 0; i++)
        r = add_header(t, t->request.headers[i], err);
    return r == 0 && is_given(t->client->o.token_file) ? add_token(t, err) : r;
}

// --- the options ---

// Each option must hold. The first that libcurl refuses is named.
#define SET(t, option, value)                                                                      \
    do {                                                                                           \
        if (!(t)->unset && curl_easy_setopt((t)->easy, CURLOPT_##option, value) != CURLE_OK)       \
            (t)->unset = #option;                                                                  \
    } while (0)

static void set_server(struct spy_transfer *t, bool is_plain)
{
    const struct spy_client_options *o = &t->client->o;
    SET(t, URL, t->request.url);
    SET(t, PROTOCOLS_STR, is_plain ? "http" : "https");
    SET(t, FOLLOWLOCATION, 0L);
    SET(t, HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    if (!o->proxy || is_plain)
        SET(t, PROXY, "");
    if (is_given(o->unix_socket))
        SET(t, UNIX_SOCKET_PATH, o->unix_socket);
    if (o->user_agent)
        SET(t, USERAGENT, o->user_agent);
}

static void set_trust(struct spy_transfer *t)
{
    const struct spy_client_options *o = &t->client->o;
    SET(t, SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(t, SSL_VERIFYPEER, 1L);
    SET(t, SSL_VERIFYHOST, 2L);
    if (!t->unset && spy_trust_servers_only(t->easy) != CURLE_OK)
        t->unset = "PREREQFUNCTION";
    if (is_given(o->ca_file)) {
        SET(t, CAINFO, o->ca_file);
        SET(t, CAPATH, NULL); // libcurl would add the system's folder of authorities to the file
    }
    if (is_given(o->cert_file))
        SET(t, SSLCERT, o->cert_file);
    if (is_given(o->key_file))
        SET(t, SSLKEY, o->key_file);
    // Not checked: only some of libcurl's TLS libraries keep what a CA file once held.
    curl_easy_setopt(t->easy, CURLOPT_CA_CACHE_TIMEOUT, 0L);
}

static void set_limits(struct spy_transfer *t)
{
    unsigned connect_ms = t->client->o.connect_ms, all_ms = t->request.timeout_ms;
    SET(t, NOSIGNAL, 1L);
    SET(t, TIMEOUT_MS, (long)all_ms);
    if (connect_ms)
        SET(t, CONNECTTIMEOUT_MS, (long)(all_ms && all_ms < connect_ms ? all_ms : connect_ms));
    if (t->request.quiet_secs) {
        SET(t, LOW_SPEED_LIMIT, 1L);
        SET(t, LOW_SPEED_TIME, (long)t->request.quiet_secs);
    }
    SET(t, NOPROGRESS, 0L);
    SET(t, XFERINFOFUNCTION, on_progress);
    SET(t, XFERINFODATA, t);
}

static void set_connection(struct spy_transfer *t, long age)
{
    SET(t, MAXCONNECTS, 1L); // of an easy handle's own; a loop has a cache for all
    if (age == 0)
        SET(t, FRESH_CONNECT, 1L);
    if (age > 0)
        SET(t, MAXLIFETIME_CONN, age);
    if (t->client->o.dead_secs) {
        SET(t, SOCKOPTFUNCTION, on_socket);
        SET(t, SOCKOPTDATA, t);
    } else {
        SET(t, TCP_KEEPALIVE, 1L);
    }
}

static void set_request(struct spy_transfer *t)
{
    const struct spy_client_request *q = &t->request;
    SET(t, HTTPHEADER, t->headers);
    if (q->body) {
        SET(t, POSTFIELDSIZE_LARGE, (curl_off_t)q->body_len);
        SET(t, POSTFIELDS, q->body);
    }
    if (q->method)
        SET(t, CUSTOMREQUEST, q->method);
    SET(t, ERRORBUFFER, t->why);
    SET(t, WRITEFUNCTION, on_body);
    SET(t, WRITEDATA, t);
    SET(t, HEADERFUNCTION, on_header);
    SET(t, HEADERDATA, t);
}

int spy_transfer_prepare(struct spy_transfer *t, long connection_age, struct spy_err *err)
{
    bool is_plain = !strncasecmp(t->request.url, "http://", 7);
    t->answer.body = SPY_BUF_INIT(t->request.answer_max);
    if (is_plain ? !t->client->o.plain : strncasecmp(t->request.url, "https://", 8) != 0)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "the URL must begin with https://");
    int r = make_headers(t, err);
    if (r < 0)
        return r;
    set_server(t, is_plain);
    set_trust(t);
    set_limits(t);
    set_connection(t, connection_age);
    set_request(t);
    return t->unset ? spy_err_set(err, SPY_ERR_NOMEM, 0,
                                  "libcurl cannot be set up: it refuses CURLOPT_%s", t->unset)
                    : 0;
}

// --- the answer ---

static enum spy_client_outcome classify_status(long status)
{
    if (status >= 200 && status <= 299)
        return SPY_CLIENT_DONE;
    bool later = status == 408 || status == 429 || (status >= 500 && status <= 599);
    return later ? SPY_CLIENT_AGAIN : SPY_CLIENT_REFUSED;
}

static uint64_t read_retry_after(const struct spy_transfer *t)
{
    curl_off_t secs = 0;
    if (curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &secs) != CURLE_OK || secs <= 0)
        return 0;
    return (uint64_t)(secs < RETRY_AFTER_MAX_SECS ? secs : RETRY_AFTER_MAX_SECS) * SPY_NS_PER_SEC;
}

static void write_reason(struct spy_transfer *t, CURLcode code)
{
    char *to = t->answer.reason;
    size_t size = sizeof t->answer.reason;
    if (t->answer.body.failed)
        snprintf(to, size, "the answer is larger than %zu bytes", t->answer.body.max);
    else if (code == CURLE_ABORTED_BY_CALLBACK)
        snprintf(to, size, "%s", is_ended_by_us(t) ? "stopped" : SPY_TRUST_NOT_A_SERVER);
    else
        snprintf(to, size, "%.*s", (int)size - 1, *t->why ? t->why : curl_easy_strerror(code));
    for (; *to; to++)
        if (!isprint((unsigned char)*to))
            *to = ' ';
}

void spy_transfer_end(struct spy_transfer *t, CURLcode code)
{
    struct spy_client_answer *a = &t->answer;
    t->over = true;
    a->status = (int)read_status(t);
    a->outcome = code == CURLE_OK ? classify_status(a->status) : SPY_CLIENT_UNREACHABLE;
    a->timed_out = code == CURLE_OPERATION_TIMEDOUT;
    if (a->outcome == SPY_CLIENT_AGAIN)
        a->retry_after_ns = read_retry_after(t);
    if (a->outcome == SPY_CLIENT_UNREACHABLE)
        write_reason(t, code);
}

void spy_transfer_clear(struct spy_transfer *t)
{
    for (struct curl_slist *h = t->headers; h; h = h->next)
        explicit_bzero(h->data, strlen(h->data)); // a token is among them
    curl_slist_free_all(t->headers);
    t->headers = NULL;
}
