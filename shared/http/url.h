// url.h - URLs of servers, and names inside of URLs. Any thread.
#pragma once
#include "shared/base/buf.h"

// What is wrong with the URL of a server, or NULL. It is scheme, host and port alone: https://, or
// http:// for this machine. The URL itself may hold a password and is not repeated.
const char *spy_url_server_fault(const char *url);
// Appends the text as the value of a parameter: what is not a letter, a digit or one of "-._~"
// becomes %XX (RFC 3986, 2.1).
int spy_url_put_value(struct spy_buf *out, const char *text);
