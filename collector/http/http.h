// http.h - the server: listeners, deadlines, limits, routes.
//
// libmicrohttpd's epoll threads move bytes; a pool of workers runs the handlers, so that a handler
// may block (on the store, on a commit) without holding up anybody's bytes. While a handler works
// its connection is suspended.
//
// Bounds, each with its own answer: connections for each address (refused), body size (413, from
// Content-Length before a byte is read), bytes of all bodies and of all answers held at once and
// waiting requests (503 with Retry-After), headers not complete after SPY_HTTP_HEADER_SECS, a body
// slower than SPY_HTTP_BODY_RATE or an answer taken slower than SPY_HTTP_ANSWER_RATE (cut off).
// libmicrohttpd's own timeout only sees idle connections, not those that drip.
//
// The plain listener takes no credentials, so it listens on loopback only, and only for requests
// whose Host is a loopback name: a page in a browser cannot reach it under a name of its own.
#pragma once
#include "shared/base/buf.h"
#include "shared/base/err.h"
#include "shared/base/metrics.h"
#include <gnutls/abstract.h>
#include <stdbool.h>

enum {
    SPY_HTTP_HEADER_SECS = 10,
    SPY_HTTP_BODY_RATE = 1024, // bytes a second, over the whole upload, once it is older than that
    SPY_HTTP_ANSWER_RATE = 16384, // bytes a second that a reader must take, over the whole answer
    SPY_HTTP_IDLE_SECS = 75,      // between two requests on one connection
    SPY_HTTP_GRACE_SECS = 10,     // for what is under way when the server is told to end
    SPY_HTTP_WORKERS = 16,
    SPY_HTTP_QUEUE = 1024,
    SPY_HTTP_CONNECTIONS = 12000,
    SPY_HTTP_PARAMS = 64,
    SPY_HTTP_ANSWER_MAX = 128 << 20,  // bytes of one answer
    SPY_HTTP_ANSWERS_MAX = 512 << 20, // of all that are being sent
};

struct spy_http_param {
    const char *name, *value; // decoded; "" when there is none
};

struct spy_http_request {
    const char *method, *path;
    const struct spy_http_param *params;
    size_t n_params;
    const char *content_type, *content_encoding, *authorization, *accept; // "" when not sent
    const char *date, *profiles_version; // Date, otlp-profiles-development-version
    const uint8_t *body;
    size_t body_len;
    bool local;        // came by the plain listener
    bool may_wait;     // the function that is called may block: a worker calls it
    void *tls_session; // gnutls_session_t, NULL on the plain listener
};

struct spy_http_response {
    unsigned status;          // 200 unless set
    const char *content_type; // static; application/json unless set
    const char *policy;       // Content-Security-Policy, static or NULL
    unsigned retry_after;     // seconds; 0: no header
    struct spy_buf body;
};

// An error as JSON: {"error": {"code", "message", "hint"}}. code is a word of ours such as
// "not_found".
void spy_http_error(struct spy_http_response *res, unsigned status, const char *message,
                    const char *hint);

typedef void (*spy_http_handler)(void *arg, const struct spy_http_request *req,
                                 struct spy_http_response *res);

enum spy_http_verdict {
    SPY_HTTP_REFUSED, // with *res filled
    SPY_HTTP_ALLOWED,
    SPY_HTTP_LATER, // it cannot be said without waiting: ask again when req->may_wait
};

struct spy_http_route {
    const char *method, *path;
    bool takes_body;
    bool remote_only; // not on the plain listener, which is for queries
    bool at_once;     // handle never blocks: no worker is waited for, however many are busy
    // May the request be served? Called before the body is read, first by a thread that moves
    // everybody's bytes, where it must not wait, and after SPY_HTTP_LATER by a worker. NULL: yes.
    enum spy_http_verdict (*allow)(void *arg, const struct spy_http_request *req,
                                   struct spy_http_response *res);
    spy_http_handler handle;
};

struct spy_http_options {
    const char *https, *http; // ADDR:PORT; "" or "off": no such listener. Port 0: any free one
    // Gives the certificate for a new connection, any thread; it must live until spy_http_free.
    void (*certificate)(void *certificate_arg, gnutls_pcert_st **ret_chain, unsigned *ret_n,
                        gnutls_privkey_t *ret_key);
    void *certificate_arg;
    const char *client_ca_pem;           // NULL: clients are not asked for certificates
    const struct spy_http_route *routes; // ends with a route without method; borrowed
    void *arg;                           // for allow and handle
    size_t body_max;                     // of one request
    size_t bodies_max;                   // of all that are held at once
    unsigned connections_per_ip;
};

struct spy_http;
// client_ca_pem and routes are borrowed until spy_http_free; addresses only for the call. One
// server of a program can have a TLS listener. SPY_ERR_INVALID: an address that is none, or a plain
// one that is not loopback; SPY_ERR_IO: it cannot be listened on.
int spy_http_new(const struct spy_http_options *options, struct spy_http **ret,
                 struct spy_err *err);
// The ports that are listened on; 0: none.
unsigned spy_http_tls_port(const struct spy_http *h);
unsigned spy_http_plain_port(const struct spy_http *h);
// Stops listening, gives requests under way SPY_HTTP_GRACE_SECS to be finished and answered, ends
// all threads.
void spy_http_free(struct spy_http *h);

// "host:port", "[::1]:port" -> parts. For messages and the command line.
int spy_http_split_address(const char *text, char *host, size_t size, unsigned *ret_port,
                           struct spy_err *err);

extern const struct spy_metric spy_http_metrics[];
extern const size_t spy_http_n_metrics;
