// content.h - how an answer's body is sent: compressed, and with an ETag. Inside of collector/http.
//
// The coding follows from Accept-Encoding (RFC 9110, section 12.5.3): the coding with the highest
// weight; among equals zstd, then gzip, then none. If the client refuses all of them, the body is
// sent uncompressed, which the RFC leaves to the server.
#pragma once
#include "collector/http/http.h"
#include "shared/base/compress.h"

enum {
    SPY_CONTENT_SMALL = 512,     // bytes; smaller bodies are not worth compressing
    SPY_CONTENT_AT_ONCE = 32768, // bytes; the largest body compressed on a thread of libmicrohttpd
};

// The coding for an answer that can be compressed. accept_encoding: the header's value, "" when it
// was not sent.
enum spy_encoding spy_content_choose(const char *accept_encoding);
// The same where there is no zstd: of a struct spy_http_constant.
enum spy_encoding spy_content_choose_gzip(const char *accept_encoding);
// Whether an entity tag in If-None-Match, or its "*", matches etag, by weak comparison (RFC 9110,
// section 13.1.2).
bool spy_content_is_known(const char *if_none_match, const char *etag);

// Called after the handler, on its thread: gives a 200 to GET or HEAD its ETag, turns it into a 304
// if the client has the body, and compresses the body. Without req->may_wait only small bodies are
// compressed. On failure, and with res->keeps_plain, the body stays uncompressed. Afterwards
// res->body holds just what is sent. With res->constant: chooses its form, into res->sent.
void spy_content_prepare(const struct spy_http_request *req, struct spy_http_response *res);
