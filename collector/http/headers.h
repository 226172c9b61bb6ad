// headers.h - the headers of an answer, whoever writes it. Inside of collector/http.
//
// Every answer of ours gets them from here: those that libmicrohttpd sends, and those that are
// written by hand in the middle of an upload. libmicrohttpd adds Date and Content-Length.
//
// What libmicrohttpd cannot read as a request it answers by itself, with a constant page and none
// of these: 414 and 431 (more than its memory for a connection holds), 400 for a Content-Length
// that is not a number, 505.
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
    char retry_after[16], keep[48]; // values that are made here
};

// ends: the connection ends with the answer. The rows borrow from res and from *ret itself.
void spy_headers_of(const struct spy_http_response *res, bool ends, struct spy_headers *ret);
