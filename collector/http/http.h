// http.h - the server: listeners, deadlines, limits, routes.
//
// libmicrohttpd's threads move bytes; workers run the handlers. So a handler may block (on the
// store, on a commit) without delaying other connections. While a handler works, its connection is
// suspended. Requests wait in lanes, each with its own workers: pushes and probes never wait for
// questions, nor small questions for large ones. The workers of questions run at a lower priority
// (nice 10, and 19 for large ones). A question whose client has gone is dropped: while it is being
// answered as soon as its handler checks the request's stop flag, a second later at most; while it is
// queued when a worker takes it or another question needs its place. One address may fill half of a
// queue of questions, and a worker takes the question of the address that has the fewest busy
// workers: clients that ask little wait little.
//
// Bounds, and what happens beyond them:
//
//     connections of one address              refused
//     size of a body                          413, by Content-Length before a byte is read
//     bytes of all bodies, of all answers     503 with Retry-After
//     waiting requests                        503 with Retry-After; 429 for one address's share
//     headers after SPY_HTTP_HEADER_SECS      the connection is closed
//     a body slower than SPY_HTTP_BODY_RATE   the connection is closed
//     a body after SPY_HTTP_BODY_SECS         the connection is closed
//     a reader slower than _ANSWER_RATE       the connection is closed
//
// libmicrohttpd's own timeout sees idle connections only, not slow ones.
//
// Bodies of SPY_CONTENT_SMALL bytes and more are compressed as Accept-Encoding asks, by the worker
// that made them. The answer of an at_once route is compressed only if it is small.
//
// The plain listener takes no credentials. It therefore listens on loopback only, and serves only
// requests whose Host is a loopback name: a page in a browser cannot reach it under another name.
#pragma once
#include "shared/base/buf.h"
#include "shared/base/err.h"
#include "shared/base/metrics.h"
#include "shared/base/param.h"
#include <gnutls/abstract.h>
#include <stdbool.h>

enum {
    SPY_HTTP_HEADER_SECS = 10,
    SPY_HTTP_BODY_RATE = 1024,    // bytes a second, over any SPY_HTTP_HEADER_SECS
    SPY_HTTP_BODY_SECS = 120,     // for a whole body
    SPY_HTTP_ANSWER_RATE = 16384, // bytes a second that a reader must take, over the whole answer
    SPY_HTTP_IDLE_SECS = 75,      // between two requests on one connection
    SPY_HTTP_GRACE_SECS = 8,      // for requests in progress when the server ends
    SPY_HTTP_GRACE_STOP_SECS = 4, // after which running questions are stopped
    SPY_HTTP_CONNECTIONS = 12000,
    SPY_HTTP_QUESTIONS_AT_ONCE = 4, // small questions
    SPY_HTTP_LARGE_AT_ONCE = 2,     // large questions, at most
    SPY_HTTP_PARAMS = 64,
    SPY_HTTP_ANSWER_MAX = 128 << 20, // bytes of one answer
    SPY_HTTP_ANSWER_SMALL = 4096,    // up to here an answer always has room: acknowledgements
    SPY_HTTP_BODY_SMALL = 1 << 20,   // larger bodies may hold three quarters of bodies_max
};

struct spy_http_request {
    const char *method, *path;
    const struct spy_param *params;
    size_t n_params;
    const char *content_type, *content_encoding, *authorization, *accept; // "" when not sent
    const char *accept_encoding, *if_none_match;                          // the same
    const char *date, *profiles_version; // Date, otlp-profiles-development-version
    const uint8_t *body;
    size_t body_len;
    bool local;        // came by the plain listener
    bool may_wait;     // called by a worker, so the callee may block
    bool large;        // called from SPY_HTTP_LARGE
    const bool *stop;  // shared/base/stop.h: set when the client has gone
    void *tls_session; // gnutls_session_t, NULL on the plain listener
};

// An answer that is part of the program, and is sent from where it lies: it takes no part of
// answers_max. The server chooses the form that the client accepts.
struct spy_http_constant {
    const void *data, *packed; // packed: with gzip, or NULL
    size_t len, packed_len;
    const char *etag, *packed_etag; // with their quotes
};

struct spy_http_response {
    unsigned status;          // 200 unless set
    const char *content_type; // static; application/json unless set
    const char *policy;       // Content-Security-Policy, static or NULL
    unsigned retry_after;     // seconds; 0: no header
    bool is_large;            // too large for this lane: call the handler again from SPY_HTTP_LARGE
    unsigned max_age;         // seconds that the client may cache it; 0: it must not
    const char *cache_control; // static: instead of what max_age means; or NULL
    const char *allow;         // of a 405: the methods that the path takes, static; else NULL
    struct spy_buf body;
    const struct spy_http_constant *constant; // sent instead of body, or NULL
    // Set by the server (content.h).
    const char *content_encoding; // static, or NULL
    bool keeps_plain;             // there is no room for a compressed copy beside the body
    char etag[40];                // with its quotes; "": none
    bool varies;                  // with Accept-Encoding
    const void *sent;             // what is sent of constant
    size_t sent_len;
};

// An error as JSON: {"error": {"code", "message", "hint"}}. code follows from status, such as
// "not_found".
void spy_http_error(struct spy_http_response *res, unsigned status, const char *message,
                    const char *hint);

typedef void (*spy_http_handler)(void *arg, const struct spy_http_request *req,
                                 struct spy_http_response *res);

enum spy_http_verdict {
    SPY_HTTP_REFUSED, // with *res filled
    SPY_HTTP_ALLOWED,
    SPY_HTTP_LATER, // deciding takes waiting: call again with req->may_wait
};

// Where a request waits for a worker.
enum spy_http_lane {
    SPY_HTTP_PROMPT, // probes, and the allow functions of all lanes
    SPY_HTTP_PUSH,
    SPY_HTTP_QUESTION,
    SPY_HTTP_LARGE, // questions whose handler set is_large
    SPY_HTTP_LANES
};

struct spy_http_route {
    const char *method, *path;
    enum spy_http_lane lane;
    bool takes_body;
    bool remote_only; // not on the plain listener, which is for queries
    bool unlisted;    // not named by the answer to an unknown path
    bool at_once;     // handle never blocks, and is called without waiting for a worker
    // Decides whether the request may be served, before its body is read: first on a thread of
    // libmicrohttpd, where it must not wait, and after SPY_HTTP_LATER on a worker. NULL: always.
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
    bool asks_for_certificates;          // of clients; the routes' allow functions verify them
    const struct spy_http_route *routes; // ends with a route without method; borrowed
    void *arg;                           // for allow and handle
    size_t body_max;                     // of one request
    size_t bodies_max;                   // of all bodies held at once
    size_t answers_max;                  // bytes of all answers that are being sent
    unsigned connections_per_ip;
    unsigned large_at_once; // 0: SPY_HTTP_LARGE_AT_ONCE, which is the most
};

struct spy_http;
// Routes are borrowed until spy_http_free; addresses only for the call. Only one server of a program
// can have a TLS listener. SPY_ERR_INVALID: a malformed address, or a plain listener that is not on
// loopback; SPY_ERR_IO: the address cannot be listened on.
int spy_http_new(const struct spy_http_options *options, struct spy_http **ret,
                 struct spy_err *err);
// The ports that are listened on; 0: none.
unsigned spy_http_tls_port(const struct spy_http *h);
unsigned spy_http_plain_port(const struct spy_http *h);
// Stops listening, gives requests in progress SPY_HTTP_GRACE_SECS to be answered, ends all threads.
void spy_http_free(struct spy_http *h);

// "host:port", "[::1]:port" -> parts. For messages and the command line.
int spy_http_split_address(const char *text, char *host, size_t size, unsigned *ret_port,
                           struct spy_err *err);

extern const struct spy_metric spy_http_metrics[];
extern const size_t spy_http_n_metrics;
