// push.h - requests to the collector, one at a time. Inside of agent/upload.
//
// shared/http/client.h sends the requests; it says what is verified and when files are read again.
// The connection stays open for the next request. A proxy is used as by libcurl (https_proxy and
// no_proxy in the environment), but never for http://.
//
// Threads: one thread at a time calls a spy_push; any thread may call spy_push_abort.
#pragma once
#include "shared/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spy_push;

// AUTO begins with zstd. If a backend refuses a body in zstd with 400 or 415, the same body is sent
// in gzip; if that is stored, all later bodies are in gzip.
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
    SPY_PUSH_STORED,      // 200 and an answer of OTLP
    SPY_PUSH_REJECTED,    // 400, 413, 415, 422: final, not sent again
    SPY_PUSH_DENIED,      // 401, 403, or an unusable token file: later, or when a file changes
    SPY_PUSH_BUSY,        // 408, 429, 5xx: later
    SPY_PUSH_UNREACHABLE, // no connection, no trust, cut off, too slow
    SPY_PUSH_STRANGE,     // an answer that a collector never gives, perhaps a wrong URL: later
    SPY_PUSH_OUTCOMES,
};

struct spy_push_result {
    enum spy_push_outcome outcome;
    long status;             // of HTTP; 0: none
    uint64_t retry_after_ns; // 0: not given
    uint64_t rejected;       // with STORED: profiles that the collector rejected
    bool changed_to_gzip;    // with AUTO: zstd was refused and gzip stored
    char reason[240];        // one line: what the collector or libcurl said
};

// Checks the URL. SPY_ERR_USAGE names the fault: http:// to another machine, a path, user data.
int spy_push_check_url(const char *url, struct spy_err *err);
// The spy_push borrows the strings of options for its whole life.
int spy_push_new(const struct spy_push_options *options, struct spy_push **ret,
                 struct spy_err *err);
void spy_push_free(struct spy_push *p);

// body is OTLP compressed by zstd; it is sent in the compression of the options. The Date header
// carries this machine's clock.
void spy_push_send(struct spy_push *p, const void *body, size_t len, struct spy_push_result *ret);
// True when a file of the options has changed since the last send: another try may succeed.
bool spy_push_files_changed(struct spy_push *p);
// Ends a running send within a second, and all later sends at once.
void spy_push_abort(struct spy_push *p);
