// client.h - the HTTP client, over libcurl. No other room calls libcurl.
//
// A client speaks to one server with one set of credentials. TLS 1.2 or newer; the server's
// certificate, its name and its purpose (serverAuth) are verified; redirects are not followed and
// cookies not kept; HTTP/1.1. Every option of libcurl is checked: a libcurl that refuses one of them
// is not used.
//
// The token file is read for each request. When the CA, certificate or key file changes, no
// connection made before is used again, so that the next request reads the files again.
//
// A server is not trusted either: each request has a time limit, and each answer a size limit.
//
// Threads: spy_client_send, _files_changed, _forget and _abort from any thread, several at once. A
// loop and its transfers belong to one thread, but for spy_client_loop_wake.
#pragma once
#include "shared/base/buf.h"
#include "shared/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SPY_CLIENT_TOKEN_MAX = 16 << 10 };

struct spy_client_options {
    const char *token_file;           // sent as "Authorization: Bearer"; NULL or "": none
    const char *ca_file;              // these authorities alone; NULL or "": the system's
    const char *cert_file, *key_file; // the client's certificate; NULL: none
    const char *unix_socket;          // connect to it, whatever host the URL names; NULL: TCP
    const char *user_agent;           // NULL: the header is not sent
    bool plain;                       // http:// is allowed
    bool proxy;          // as https_proxy and no_proxy in the environment say; never for http://
    unsigned connect_ms; // limit to connect, TLS included; 0: the request's limit alone
    unsigned dead_secs;  // give up a server whose machine is silent for so long; 0: off
    unsigned idle_max;   // connections kept for the next spy_client_send
};

// How a request ended, by what the caller can do about it.
enum spy_client_outcome {
    SPY_CLIENT_DONE,        // 2xx
    SPY_CLIENT_REFUSED,     // any other status: the same request gets the same answer
    SPY_CLIENT_AGAIN,       // 408, 429, 5xx: later
    SPY_CLIENT_UNREACHABLE, // no connection, no trust, cut off, too slow, too large, aborted
};

// body, stop and arg are borrowed until the answer is there, the rest for the call.
struct spy_client_request {
    const char *url;
    const char *method;         // NULL: GET without a body, POST with one
    const char *const *headers; // "Name: value"
    size_t n_headers;
    const void *body; // NULL: none
    size_t body_len;
    unsigned timeout_ms; // for all of it; 0: none
    unsigned quiet_secs; // and without a byte of an answer; 0: none
    size_t answer_max;   // of spy_client_answer.body; a longer one makes it UNREACHABLE
    const bool *stop;    // shared/base/stop.h: ends the transfer within a second; NULL: none

    // Where on_data is set it gets the body of a 200 answer in pieces, and the answer's body is that
    // of other answers alone. It returns false to end the transfer.
    bool (*on_data)(void *arg, const char *data, size_t len);
    void (*on_begin)(void *arg); // the headers of a 200 answer are there; NULL: not called
    void *arg;
};

struct spy_client_answer {
    enum spy_client_outcome outcome;
    int status;              // of HTTP; 0: no answer came. Also where the answer was cut off
    bool timed_out;          // with UNREACHABLE: timeout_ms or quiet_secs passed
    uint64_t retry_after_ns; // with AGAIN; 0: the server did not say
    struct spy_buf body;     // body.failed: it was longer than answer_max
    char reason[240];        // with UNREACHABLE: why, in one line
};
void spy_client_answer_free(struct spy_client_answer *a); // wipes the body

struct spy_client;
// The strings are borrowed for the life of the client. Sends nothing yet. 0 or SPY_ERR_NOMEM.
int spy_client_new(const struct spy_client_options *o, struct spy_client **ret,
                   struct spy_err *err);
void spy_client_free(struct spy_client *c); // NULL-safe

// Sends a request and waits for its answer. 0: *ret says how it ended, and is to be given up with
// spy_client_answer_free. Nothing was sent: SPY_ERR_DENIED: the token file cannot be used;
// SPY_ERR_INVALID: the URL's scheme; SPY_ERR_NOMEM: out of memory, or libcurl refuses an option.
int spy_client_send(struct spy_client *c, const struct spy_client_request *request,
                    struct spy_client_answer *ret, struct spy_err *err);
// True when any of the four files differs from what it was at the last request.
bool spy_client_files_changed(struct spy_client *c);
// No connection made until now is used again.
void spy_client_forget(struct spy_client *c);
// Ends spy_client_send within a second, on whatever thread it runs, and all later ones at once.
void spy_client_abort(struct spy_client *c);

// --- several requests at once on one thread ---

struct spy_client_loop;
struct spy_transfer;

// The client is borrowed.
int spy_client_loop_new(struct spy_client *c, struct spy_client_loop **ret, struct spy_err *err);
void spy_client_loop_free(struct spy_client_loop *l); // NULL-safe; after its transfers
// Begins a request, which spy_client_loop_run carries on. Errors as spy_client_send.
int spy_client_loop_start(struct spy_client_loop *l, const struct spy_client_request *request,
                          struct spy_transfer **ret, struct spy_err *err);
// Moves all transfers on, then waits for the network: at most timeout_ms, less if woken. Where a
// transfer has ended it does not wait.
void spy_client_loop_run(struct spy_client_loop *l, unsigned timeout_ms);
void spy_client_loop_wake(struct spy_client_loop *l); // from any thread

// Its answer, borrowed; NULL while it is under way.
const struct spy_client_answer *spy_transfer_answer(const struct spy_transfer *t);
void spy_transfer_free(struct spy_transfer *t); // NULL-safe; also while it is under way
