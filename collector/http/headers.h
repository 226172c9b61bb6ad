// headers.h - the headers of every answer. Inside of collector/http.
//
// They serve the answers that libmicrohttpd sends and those that are written by hand in the middle
// of an upload. libmicrohttpd adds Date and Content-Length.
//
// Requests that libmicrohttpd cannot parse are answered by libmicrohttpd itself, with a constant
// page and none of these headers: 414 and 431 (larger than its memory for a connection), 400 (a
// Content-Length that is not a number), 505.
//
// Threads: pure.
#pragma once
#include "collector/http/http.h"

enum { SPY_HEADERS_MAX = 12 };

struct spy_headers {
    struct {
        const char *name, *value;
    } rows[SPY_HEADERS_MAX];
    size_t n;
    char retry_after[16], keep[48]; // values made for this answer
};

// ends: the connection ends with the answer. The rows borrow from res and from *ret itself.
void spy_headers_of(const struct spy_http_response *res, bool ends, struct spy_headers *ret);
