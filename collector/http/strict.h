// strict.h - refuses what HTTP/1.1 forbids and libmicrohttpd accepts. Inside of collector/http.
//
// A request that two servers could read in two ways is refused, so that the collector and a proxy in
// front of it never disagree about where it ends or whom it is for (RFC 9112, 2.2, 3.2, 5.1, 6.3):
// 400 for a target with control characters or a NUL (%00 too), a header name that is not a token,
// a header line with a NUL or without CRLF, Host absent (in HTTP/1.1), repeated or malformed,
// Content-Length repeated or beside Transfer-Encoding, and any Transfer-Encoding but "chunked".
//
// On the plain listener, 403 for requests that a page of another site makes a browser send:
// Sec-Fetch-Site other than same-origin and none (W3C Fetch Metadata), or an Origin other than Host.
//
// Threads: those of libmicrohttpd.
#pragma once
#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>

// For MHD_OPTION_URI_LOG_CALLBACK: checks the target as it was sent, before it is decoded. The
// return value becomes the request's first state: NULL, or a mark for spy_strict_take_mark.
void *spy_strict_on_target(void *arg, const char *target, struct MHD_Connection *c);
// Removes the mark: true if the target is refused; *state is NULL then. To be called before *state
// is used.
bool spy_strict_take_mark(void **state);

struct spy_fault {
    unsigned status; // 0: the request is sound
    const char *message, *hint;
};
// bad_target: what spy_strict_take_mark returned; version: "HTTP/1.1"; local: by the plain listener.
struct spy_fault spy_strict_check(struct MHD_Connection *c, const char *version, bool bad_target,
                                  bool local);

// The single rules, for tests.
bool spy_strict_target_is_good(const char *target); // "/profiles?pod=a%20b"
bool spy_strict_host_is_good(const char *host);     // "localhost:8080", "[::1]"
