// http.h - the server: listeners, deadlines, limits, routes.
//
// libmicrohttpd's threads move bytes; workers run the handlers, so that a handler may block (on the
// store, on a commit) without holding up anybody's bytes. While a handler works its connection is
// suspended. Requests wait in lanes, each with workers of its own, so that pushes and probes never
// wait for questions, nor small questions for large ones; the workers of questions run at a lower
// priority (nice 10, and 19 for large ones). A question whose client has gone is dropped: from its
// work as soon as its handler looks at the request's stop flag, a second later at most, and from
// the queue when a worker takes it or another question needs its place.
// One address may have half of a queue of questions, and a worker takes the question of the address
// that the fewest workers are busy for: who asks little waits little.
//
// Bounds, each with its own answer: connections for each address (refused), body size (413, from
// Content-Length before a byte is read), bytes of all bodies and of all answers held at once and
// waiting requests (503 with Retry-After; 429 where one address has too many), headers not complete
// after SPY_HTTP_HEADER_SECS, a body slower than SPY_HTTP_BODY_RATE or not whole after
// SPY_HTTP_BODY_SECS, or an answer taken slower than SPY_HTTP_ANSWER_RATE (cut off).
// libmicrohttpd's own timeout only sees idle connections, not those that drip.
//
// Bodies from some hundred bytes on are compressed as Accept-Encoding wishes, by the worker that
// made them; one that is made at once only where it is small.
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
    SPY_HTTP_BODY_RATE = 1024,    // bytes a second, over any SPY_HTTP_HEADER_SECS
    SPY_HTTP_BODY_SECS = 120,     // for a whole body
    SPY_HTTP_ANSWER_RATE = 16384, // bytes a second that a reader must take, over the whole answer
    SPY_HTTP_IDLE_SECS = 75,      // between two requests on one connection
    SPY_HTTP_GRACE_SECS = 8,      // for what is under way when the server is told to end
    SPY_HTTP_GRACE_STOP_SECS = 4, // questions that run then are stopped after that
    SPY_HTTP_CONNECTIONS = 12000,
    SPY_HTTP_QUESTIONS_AT_ONCE = 4, // small ones that are worked on
    SPY_HTTP_LARGE_AT_ONCE = 2,     // large ones, at most
    SPY_HTTP_PARAMS = 64,
    SPY_HTTP_ANSWER_MAX = 128 << 20, // bytes of one answer
    SPY_HTTP_ANSWER_SMALL = 4096,    // of an answer that always has room: what acknowledges a push
    SPY_HTTP_BODY_SMALL = 1 << 20,   // larger bodies may hold three quarters of bodies_max
};

struct spy_http_param {
    const char *name, *value; // decoded; "" when there is none
};

struct spy_http_request {
    const char *method, *path;
    const struct spy_http_param *params;
    size_t n_params;
    const char *content_type, *content_encoding, *authorization, *accept; // "" when not sent
    const char *accept_encoding, *if_none_match;                          // the same
    const char *date, *profiles_version; // Date, otlp-profiles-development-version
    const uint8_t *body;
    size_t body_len;
    bool local;        // came by the plain listener
    bool may_wait;     // the function that is called may block: a worker calls it
    bool large;        // called from SPY_HTTP_LARGE
    const bool *stop;  // shared/base/stop.h: nobody waits for the answer any more
    void *tls_session; // gnutls_session_t, NULL on the plain listener
};

struct spy_http_response {
    unsigned status;          // 200 unless set
    const char *content_type; // static; application/json unless set
    const char *policy;       // Content-Security-Policy, static or NULL
    unsigned retry_after;     // seconds; 0: no header
    bool is_large;     // it takes more than a question may take here: ask again as a large one
    unsigned max_age;  // seconds that the asker may keep it; 0: it must not be kept
    const char *allow; // of a 405: the methods there are, static; else NULL
    struct spy_buf body;
    // The server's own, see content.h.
    const char *content_encoding; // static, or NULL
    bool keeps_plain;             // no room for a compressed copy beside the body
    char etag[40];                // with its quotes; "": none
    bool varies;                  // by the encodings that are accepted
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

// Where a request waits for a worker.
enum spy_http_lane {
    SPY_HTTP_PROMPT, // probes, and verdicts about requests of all lanes
    SPY_HTTP_PUSH,
    SPY_HTTP_QUESTION,
    SPY_HTTP_LARGE, // questions of which the handler said that they are large
    SPY_HTTP_LANES
};

struct spy_http_route {
    const char *method, *path;
    enum spy_http_lane lane;
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
    bool asks_for_certificates;          // of clients; whoever judges a request looks at them
    const struct spy_http_route *routes; // ends with a route without method; borrowed
    void *arg;                           // for allow and handle
    size_t body_max;                     // of one request
    size_t bodies_max;                   // of all that are held at once
    size_t answers_max;                  // bytes of all answers that are being sent
    unsigned connections_per_ip;
    unsigned large_at_once; // 0: SPY_HTTP_LARGE_AT_ONCE, which is the most
};

struct spy_http;
// Routes are borrowed until spy_http_free; addresses only for the call. One
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
