// content.h - how an answer's body is sent: compressed as the client accepts it, and known again by
// its ETag. Inside of collector/http.
//
// What a body is compressed to goes by Accept-Encoding (RFC 9110, section 12.5.3): the coding of
// the highest weight, and of equal ones zstd, gzip, none. Where all that we can make is refused,
// the body is sent as it is, which the RFC leaves to the server.
#pragma once
#include "collector/http/http.h"
#include "shared/base/compress.h"

enum {
    SPY_CONTENT_SMALL = 512,     // bytes of a body that is not worth compressing
    SPY_CONTENT_AT_ONCE = 32768, // at most so many are compressed where others wait meanwhile
};

// The coding to use for an answer of a type that can be compressed. accept_encoding is the header's
// value, "" when it was not sent.
enum spy_encoding spy_content_choose(const char *accept_encoding);
// Does one of the entity tags in If-None-Match, or its "*", stand for this one? By weak comparison
// (RFC 9110, section 13.1.2).
bool spy_content_is_known(const char *if_none_match, const char *etag);

// Between the handler and the answer, on the handler's thread: gives a 200 to a GET or HEAD its
// ETag, turns it into a 304 where the client has it, and compresses the body. req->may_wait: not
// only bodies that are soon done. On failure, and where res->keeps_plain says so, the body stays as
// it is. The memory that res->body holds afterwards is that of what is sent.
void spy_content_prepare(const struct spy_http_request *req, struct spy_http_response *res);
