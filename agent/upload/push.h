// push.h - one request to the collector at a time. Inside of agent/upload.
//
// TLS 1.2 or newer with the peer, its name and its purpose (serverAuth) verified, no redirects, no
// cookies, the answer bounded, the connection kept for the next request. The token is read for
// every request; when the CA, certificate or key file changes, the connection is given up and the
// next one reads them anew.
//
// A proxy is used as libcurl does (https_proxy, no_proxy in the environment), never for http://.
// Threads: one thread at a time; spy_push_abort from any.
#pragma once
#include "shared/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spy_push;

// AUTO begins with zstd. What a backend refuses in zstd with 400 or 415 is sent once more in gzip,
// and when that is stored, gzip stays.
enum spy_push_compression {
    SPY_PUSH_AUTO,
    SPY_PUSH_ZSTD,
    SPY_PUSH_GZIP,
    SPY_PUSH_NONE,
};

struct spy_push_options {
    const char *url; // see upload.h
    const char *ca_file, *token_file, *cert_file, *key_file;
    uint64_t timeout_ns;
    enum spy_push_compression compression;
};

enum spy_push_outcome {
    SPY_PUSH_STORED,   // 200 and an answer of OTLP
    SPY_PUSH_REJECTED, // 400, 413, 415, 422: never to be sent again
    SPY_PUSH_DENIED,   // 401, 403, or the token file cannot be used: another try with other files
    SPY_PUSH_BUSY,     // 408, 429, 5xx: later
    SPY_PUSH_UNREACHABLE, // no connection, no trust, cut off, too slow
    SPY_PUSH_STRANGE,     // an answer that no collector gives: is the URL right? later
    SPY_PUSH_OUTCOMES,
};

struct spy_push_result {
    enum spy_push_outcome outcome;
    long status;             // of HTTP; 0: none
    uint64_t retry_after_ns; // 0: not said
    uint64_t rejected;       // profiles that the collector did not take, with STORED
    bool changed_to_gzip;    // with AUTO: it was stored in gzip after zstd was refused
    char reason[240];        // one line: what the collector or libcurl said
};

// Checks the URL: SPY_ERR_USAGE with what is wrong (http:// to another machine, a path, user data).
int spy_push_check_url(const char *url, struct spy_err *err);
// The strings are borrowed for the life of the push.
int spy_push_new(const struct spy_push_options *options, struct spy_push **ret,
                 struct spy_err *err);
void spy_push_free(struct spy_push *p);

// Sends a body that is OTLP in zstd, in the compression that is set. The Date header tells the
// collector this machine's clock.
void spy_push_send(struct spy_push *p, const void *body, size_t len, struct spy_push_result *ret);
// True when any of the files is not as it was at the last send: another try may go better.
bool spy_push_files_changed(struct spy_push *p);
// Ends a send that is under way, within a second or so; and all later ones at once.
void spy_push_abort(struct spy_push *p);
